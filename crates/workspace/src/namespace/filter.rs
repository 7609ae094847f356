//! The filter of system calls that every process of a workspace lives under.
//!
//! It refuses what no ordinary program needs and what kernels have had holes in: mounting, other namespaces, keyrings,
//! eBPF, kernel modules, raw sockets. Refused calls fail with `EPERM`. A call of a foreign architecture ends the
//! process, because numbers mean something else there.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    /// The rules do not compile.
    #[error("the filter of system calls does not compile: {0}")]
    Compile(String),
    /// There are no numbers of system calls for this machine.
    #[error("there is no filter of system calls for the architecture {0}; x86_64 and aarch64 have one")]
    Architecture(&'static str),
}

/// Refused whatever their arguments are.
const REFUSED: &[libc::c_long] = &[
    // The mount family, and changing the root.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Other namespaces.
    libc::SYS_setns,
    libc::SYS_unshare,
    // Files by handle go around every directory.
    libc::SYS_open_by_handle_at,
    // Keyrings are not namespaced.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Ways deep into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    // The machine itself.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_kcmp,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// Namespaces that `clone` may not make.
const CLONE_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];
/// Typing into somebody's terminal.
const TERMINAL_INJECTION: [u64; 2] = [libc::TIOCSTI, libc::TIOCLINUX];

/// The filter, as the kernel takes it.
pub(super) fn compile() -> Result<Vec<u8>, FilterError> {
    let architecture = architecture()?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_HERE).map(|number| (*number, Vec::new())).collect();
    rules.insert(libc::SYS_clone, namespaces()?);
    rules.insert(libc::SYS_ioctl, terminal_injection()?);
    rules.insert(libc::SYS_socket, families()?);
    rules.insert(libc::SYS_socketpair, families()?);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).map_err(failed)?;
    let program: BpfProgram = filter.try_into().map_err(failed)?;
    Ok(preamble(audit_number(architecture)).into_iter().chain(program).flat_map(as_bytes).collect())
}

fn architecture() -> Result<TargetArch, FilterError> {
    TargetArch::try_from(std::env::consts::ARCH).map_err(|_| FilterError::Architecture(std::env::consts::ARCH))
}

fn namespaces() -> Result<Vec<SeccompRule>, FilterError> {
    CLONE_NAMESPACES
        .iter()
        .map(|flag| {
            let bit = u64::from(flag.unsigned_abs());
            rule(vec![condition(0, Len::Qword, Op::MaskedEq(bit), bit)?])
        })
        .collect()
}

fn terminal_injection() -> Result<Vec<SeccompRule>, FilterError> {
    TERMINAL_INJECTION.iter().map(|request| rule(vec![condition(1, Len::Dword, Op::Eq, *request)?])).collect()
}

/// Unix and internet sockets, and asking the kernel for routes and addresses. Nothing else.
fn families() -> Result<Vec<SeccompRule>, FilterError> {
    let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let none_of_these = known
        .iter()
        .map(|family| condition(0, Len::Dword, Op::Ne, u64::from(family.unsigned_abs())))
        .collect::<Result<Vec<_>, _>>()?;
    let netlink = u64::from(libc::AF_NETLINK.unsigned_abs());
    let other_than_routes =
        vec![condition(0, Len::Dword, Op::Eq, netlink)?, condition(2, Len::Dword, Op::Ne, libc::NETLINK_ROUTE as u64)?];
    let raw = |family: libc::c_int| -> Result<SeccompRule, FilterError> {
        let raw = u64::from(libc::SOCK_RAW.unsigned_abs());
        rule(vec![
            condition(0, Len::Dword, Op::Eq, u64::from(family.unsigned_abs()))?,
            condition(1, Len::Dword, Op::MaskedEq(0xf), raw)?,
        ])
    };
    Ok(vec![rule(none_of_these)?, rule(other_than_routes)?, raw(libc::AF_INET)?, raw(libc::AF_INET6)?])
}

fn condition(argument: u8, length: Len, operator: Op, value: u64) -> Result<Condition, FilterError> {
    Condition::new(argument, length, operator, value).map_err(failed)
}

fn rule(conditions: Vec<Condition>) -> Result<SeccompRule, FilterError> {
    SeccompRule::new(conditions).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> FilterError {
    FilterError::Compile(error.to_string())
}

const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;
const RETURN_KILL_PROCESS: u32 = 0x8000_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;
const AT_NUMBER: u32 = 0;
const AT_ARCHITECTURE: u32 = 4;
/// Calls of the x32 interface have this bit; it is a second set of numbers for the same calls.
const X32_BIT: u32 = 0x4000_0000;

/// What one action per filter cannot say: `clone3` hides its flags behind a pointer, so it must look as if the kernel
/// did not know it (`ENOSYS`), upon which the C library uses `clone`.
fn preamble(audit: u32) -> Vec<sock_filter> {
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD_WORD, 0, 0, AT_ARCHITECTURE),
        step(JUMP_EQUAL, 1, 0, audit),
        step(RETURN, 0, 0, RETURN_KILL_PROCESS),
        step(LOAD_WORD, 0, 0, AT_NUMBER),
        step(JUMP_GREATER_OR_EQUAL, 0, 1, X32_BIT),
        step(RETURN, 0, 0, RETURN_KILL_PROCESS),
        step(JUMP_EQUAL, 0, 1, libc::SYS_clone3 as u32),
        step(RETURN, 0, 0, RETURN_ERRNO | libc::ENOSYS as u32),
    ]
}

fn audit_number(architecture: TargetArch) -> u32 {
    match architecture {
        TargetArch::x86_64 => 0xc000_003e,
        TargetArch::aarch64 => 0xc000_00b7,
        TargetArch::riscv64 => 0xc000_00f3,
    }
}

fn as_bytes(step: sock_filter) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&step.code.to_ne_bytes());
    bytes[2] = step.jt;
    bytes[3] = step.jf;
    bytes[4..].copy_from_slice(&step.k.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_fits_the_kernel() {
        let program = compile().expect("a filter");
        assert_eq!(program.len() % 8, 0);
        assert!(program.len() / 8 < 4096, "{} steps", program.len() / 8);
    }
}
