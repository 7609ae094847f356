# Ways out of a workspace, tried from inside. Each prints `shut`, or what it got hold of.
import ctypes, errno, glob, os, platform, signal, socket, stat, struct, subprocess, sys

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
NUMBERS = {  # x86_64, aarch64
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "fsopen": (430, 430),
    "open_tree": (428, 428), "move_mount": (429, 429), "mount_setattr": (442, 442), "clone": (56, 220),
    "init_module": (175, 105), "kexec_load": (246, 104), "reboot": (169, 142), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "open_by_handle_at": (304, 265), "settimeofday": (164, 170), "syslog": (103, 116),
    "clone3": (435, 435), "mknodat": (259, 33), "setuid": (105, 146), "setgid": (106, 144), "setgroups": (116, 159),
    "sethostname": (170, 161), "swapon": (167, 224), "acct": (163, 89), "quotactl": (179, 60), "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
}
CLONE = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000, "uts": 0x4000000}


def call(name, *arguments):
    """The result and the error of a system call."""
    ctypes.set_errno(0)
    number = NUMBERS[name][0 if X86 else 1]
    words = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_void_p(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    return result, errno.errorcode.get(ctypes.get_errno(), "")


def refused(name, *arguments):
    """Nothing when a system call fails for want of leave; else what happened."""
    result, error = call(name, *arguments)
    if result == -1 and error in ("EPERM", "EACCES", "ENOSYS"):
        return []
    return [f"{name}{arguments} gave {result} {error}"]


def unwritable(path):
    try:
        os.close(os.open(path, os.O_WRONLY))
        return [f"{path} can be written"]
    except OSError:
        return []


def unreadable(path):
    try:
        with open(path, "rb") as file:
            content = file.read(64)
    except OSError:
        return []
    return [f"{path} can be read: {content!r}"] if content else []


def unreachable(address, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(3)
        try:
            one.connect(address)
            return [f"{address} can be reached"]
        except TimeoutError:
            return [f"{address} does not refuse"]
        except OSError:
            return []


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def runtime():
    for pid in processes():
        try:
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"reeve-runtime") and b"serve" in words:
            return pid
    sys.exit("the runtime is not found")


def host_files(canary):
    found = []
    for path in (canary, f"/proc/1/root{canary}", f"/proc/self/root{canary}", f"/proc/{runtime()}/root{canary}"):
        found += unreadable(path)
    for path in ("/etc/shadow", "/etc/gshadow", "/root", "/etc/ssh", "/var/lib", "/var/log", "/boot", "/mnt", "/srv"):
        if os.path.isdir(path):
            try:
                found += [f"{path}/{name} is seen" for name in os.listdir(path)]
            except OSError:
                pass
        else:
            found += unreadable(path)
    accounts = [line.split(":")[0] for line in open("/etc/passwd")]
    found += [f"the account {name} is seen" for name in accounts if name not in ("root", "reeve", "nobody")]
    found += [f"/home/{name} is seen" for name in os.listdir("/home") if name != "reeve"]
    return found


def writing_outside(_):
    found = []
    places = ["/", "/usr", "/usr/bin", "/etc", "/opt", "/opt/reeve", "/run", "/var", "/dev", "/home", "/proc", "/lib"]
    for place in places:
        try:
            os.close(os.open(f"{place}/mark", os.O_CREAT | os.O_WRONLY, 0o600))
            found.append(f"{place} can be written")
        except OSError:
            pass
    own = ("/workspace", "/home/reeve", "/run/reeve", "/tmp", "/dev/shm", "/proc", "/dev/pts", "/dev/mqueue")
    for line in open("/proc/self/mountinfo"):
        fields = line.split()
        point, options = fields[4], fields[5].split(",")
        device = point.startswith("/dev/") and stat.S_ISCHR(os.stat(point).st_mode)
        hidden = point.startswith("/proc/") and os.path.exists(point) and stat.S_ISCHR(os.stat(point).st_mode)
        if "ro" not in options and point not in own and not device and not hidden:
            found.append(f"{point} is mounted for writing")
        if "nosuid" not in options:
            found.append(f"{point} honours setuid")
    return found


def mounting(_):
    found = refused("mount", b"none", b"/tmp", b"tmpfs", 0, 0)
    found += refused("mount", b"/usr", b"/tmp", 0, 4096, 0)
    found += refused("mount", 0, b"/usr", 0, 32 | 4096, 0)
    found += refused("mount", b"proc", b"/tmp", b"proc", 0, 0)
    found += refused("umount2", b"/usr", 2) + refused("umount2", b"/proc/keys", 2)
    found += refused("pivot_root", b"/tmp", b"/tmp") + refused("chroot", b"/tmp")
    found += refused("fsopen", b"tmpfs", 0) + refused("open_tree", -100, b"/", 1) + refused("move_mount", 0, b"", 0, b"", 4)
    found += refused("mount_setattr", -100, b"/usr", 0, 0, 0) + refused("open_by_handle_at", -100, 0, 0)
    found += refused("swapon", b"/tmp/x", 0) + refused("quotactl", 0, 0, 0, 0)
    return found


def proc_and_sys(_):
    found = []
    for name in ("kernel/core_pattern", "kernel/modprobe", "vm/drop_caches", "kernel/hostname", "fs/binfmt_misc/register",
                 "kernel/panic", "net/ipv4/ip_forward", "kernel/ns_last_pid", "user/max_user_namespaces"):
        found += unwritable(f"/proc/sys/{name}")
    for directory, _, names in os.walk("/proc/sys"):
        found += [problem for name in names for problem in unwritable(os.path.join(directory, name))]
    for path in ("/proc/sysrq-trigger", "/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/kallsyms", "/proc/timer_list"):
        found += unreadable(path)
    for path in glob.glob("/proc/irq/*/smp_affinity") + ["/proc/1/oom_score_adj", "/proc/1/setgroups", "/proc/1/uid_map"]:
        found += unwritable(path) if "oom" not in path else []
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-1000")
        found.append("it can keep itself from being ended when memory runs out")
    except OSError:
        pass
    for directory, _, names in os.walk("/sys"):
        found += [problem for name in names for problem in unwritable(os.path.join(directory, name))]
    return found


def capabilities(_):
    status = dict(line.split(":\t") for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    found = [f"{name} is {status[name]}" for name in status if name.startswith("Cap") and int(status[name], 16)]
    found += [] if status["NoNewPrivs"] == "1" else ["new privileges can be had"]
    found += [] if status["Seccomp"] == "2" else ["system calls are not filtered"]
    for name, arguments in (("setuid", [0]), ("setgid", [0]), ("setgroups", [0, 0])):
        result, error = call(name, *arguments)  # refused, or there is no such user
        found += [] if result == -1 else [f"{name} works"]
    return found + ([] if os.getuid() == 1000 and os.getgid() == 1000 else [f"it is {os.getuid()}:{os.getgid()}"])


def tracing(_):
    pid, found = runtime(), []
    for request in (16, 0x4206):  # attach, seize
        result, error = call("ptrace", request, pid, 0, 0)
        found += [] if result == -1 else [f"the runtime can be traced ({request})"]
    for name in ("mem", "environ", "maps", "auxv", "syscall", "stack"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                found += [f"the runtime's {name} can be read"] if file.read(1) else []
        except OSError:
            pass
    try:
        os.listdir(f"/proc/{pid}/fd")
        found.append("the runtime's files are seen")
    except OSError:
        pass
    handle, error = call("pidfd_open", pid, 0)
    if handle >= 0:
        result, error = call("pidfd_getfd", handle, 3, 0)
        found += [] if result == -1 else ["a file of the runtime can be taken"]
    for one in processes():
        try:
            if b"TOKEN" in open(f"/proc/{one}/environ", "rb").read():
                found.append(f"the token is seen at process {one}")
        except OSError:
            pass
    return found


def keyrings(_):
    found = refused("add_key", b"user", b"mark", b"x", 1, -3) + refused("request_key", b"user", b"mark", 0, -3)
    found += refused("keyctl", 0, -3, 1) + refused("keyctl", 1, 0)
    return found + unreadable("/proc/keys")


def metadata(_):
    found = unreachable(("169.254.169.254", 80)) + unreachable(("100.100.100.200", 80)) + unreachable(("168.63.129.16", 80))
    return found + unreachable(("fd00:ec2::254", 80), socket.AF_INET6)


def network(places):
    """Addresses of this machine and of a neighbour, handed in as host:port, and names of abstract sockets as @name."""
    found = [f"there is the interface {name}" for _, name in socket.if_nameindex() if name != "lo"]
    for place in places.split(","):
        if place.startswith("@"):
            found += unreachable("\0" + place[1:], socket.AF_UNIX)
        else:
            host, port = place.rsplit(":", 1)
            found += unreachable((host, int(port)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.sendto(b"x", ("8.8.8.8", 53))
            found.append("a datagram leaves")
        except OSError:
            pass
    return found


def container_engines(_):
    names = ("docker.sock", "containerd/containerd.sock", "podman/podman.sock", "crio/crio.sock", "dbus/system_bus_socket")
    return [f"{place}/{name} is there" for place in ("/run", "/var/run") for name in names
            if os.path.lexists(f"{place}/{name}")]


def setuid(_):
    found = []
    for program in glob.glob("/usr/bin/*") + glob.glob("/usr/sbin/*"):
        if os.path.isfile(program) and os.stat(program).st_mode & (stat.S_ISUID | stat.S_ISGID):
            if not os.statvfs(program).f_flag & os.ST_NOSUID:
                found.append(f"{program} gains by being run")
    copy = "/workspace/id-with-setuid"
    subprocess.run(["cp", "/usr/bin/id", copy], check=True)
    os.chmod(copy, 0o6755)
    told = subprocess.run([copy], capture_output=True, text=True).stdout
    os.unlink(copy)
    found += [] if told.startswith("uid=1000") and "euid" not in told else [told]
    return found


def device_nodes(_):
    found = []
    for kind, major, minor in ((stat.S_IFBLK, 7, 0), (stat.S_IFCHR, 1, 1), (stat.S_IFCHR, 10, 229)):
        for place in ("/workspace/node", "/tmp/node", "/dev/shm/node"):
            found += refused("mknodat", -100, place.encode(), kind | 0o666, os.makedev(major, minor))
    known = {"console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
             "tty", "urandom", "zero"}
    return found + [f"/dev/{name} is there" for name in os.listdir("/dev") if name not in known]


def control_groups(_):
    found = [f"{path} is there" for path in glob.glob("/run/reeve-cgroup/release_agent") + glob.glob("/sys/fs/cgroup/*/release_agent")]
    for top in ("/run/reeve-cgroup", "/sys/fs/cgroup"):
        for directory, _, names in os.walk(top):
            found += [problem for name in names for problem in unwritable(os.path.join(directory, name))]
            try:
                os.mkdir(os.path.join(directory, "mark"))
                found.append(f"a group can be made in {directory}")
            except OSError:
                pass
    return found + refused("mount", b"none", b"/tmp", b"cgroup", 0, b"memory") + refused("mount", b"none", b"/tmp", b"cgroup2", 0, 0)


def namespaces(_):
    found = []
    for name, flag in CLONE.items():
        found += refused("unshare", flag)
        result, error = call("clone", flag | signal.SIGCHLD, 0, 0, 0, 0)
        if result == 0:
            os._exit(0)
        found += [] if result == -1 and error in ("EPERM", "ENOSPC", "EUSERS") else [f"clone with a {name} namespace: {result} {error}"]
    result, error = call("clone3", ctypes.addressof(ctypes.create_string_buffer(struct.pack("11Q", CLONE["user"], *[0] * 10))), 88)
    found += [] if error == "ENOSYS" else [f"clone3 gave {result} {error}"]
    for name in ("user", "mnt", "net", "pid", "uts", "ipc", "cgroup"):
        for pid in (1, runtime()):
            try:
                handle = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
                found += refused("setns", handle, 0)
            except OSError:
                pass
    inner = subprocess.run(["unshare", "--user", "--map-root-user", "true"], capture_output=True)
    return found + ([] if inner.returncode else ["unshare makes a user namespace"])


def deep_in_the_kernel(_):
    found = refused("bpf", 0, 0, 0) + refused("perf_event_open", 0, 0, -1, -1, 0) + refused("userfaultfd", 0)
    found += refused("io_uring_setup", 1, 0) + refused("init_module", 0, 0, b"") + refused("kexec_load", 0, 0, 0, 0)
    found += refused("reboot", 0xfee1dead, 672274793, 0) + refused("settimeofday", 0, 0) + refused("syslog", 3, 0, 0)
    found += refused("sethostname", b"x", 1) + refused("acct", b"/tmp/x")
    kinds = [(socket.AF_PACKET, socket.SOCK_RAW, 0), (socket.AF_INET, socket.SOCK_RAW, 1), (40, socket.SOCK_STREAM, 0),
             (socket.AF_NETLINK, socket.SOCK_RAW, 9), (38, socket.SOCK_SEQPACKET, 0), (socket.AF_INET6, socket.SOCK_RAW, 58)]
    for kind in kinds:
        try:
            socket.socket(*kind).close()
            found.append(f"a socket of the kind {kind} can be had")
        except OSError:
            pass
    return found


def terminal_injection(_):
    import fcntl, pty, termios
    _, inner = pty.openpty()
    try:
        fcntl.ioctl(inner, termios.TIOCSTI, b"x")
        return ["a program can type into a terminal"]
    except OSError:
        return []


def other_processes(places):
    """Numbers of processes of this machine, handed in."""
    found = []
    for pid in places.split(","):
        try:
            os.kill(int(pid), 0)
            seen = open(f"/proc/{pid}/comm").read().strip()
            found += [f"process {pid} of the machine is seen: {seen}"] if seen.startswith(("it-", "docker-")) else []
        except OSError:
            pass
    return found + ([] if len(processes()) < 30 else [f"{len(processes())} processes are seen"])


def runtime_without_token(_):
    found = []
    for name, greeting in (("runtime.sock", b"GET /v1/stats HTTP/1.1\r\nHost: x\r\n\r\n"), ("dial.sock", b"guessed\n1\n")):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(5)
            try:
                one.connect(f"/run/reeve/{name}")
                one.sendall(greeting)
                answer = one.recv(4096)
            except OSError:
                continue
            found += [] if b" 401 " in answer or answer in (b"", b"\x01") else [f"{name} answers {answer[:80]!r}"]
    return found


problems = globals()[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "")
print("shut" if not problems else "OPEN: " + "; ".join(problems[:20]))
