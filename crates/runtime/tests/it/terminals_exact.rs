//! Terminals pass bytes: full-screen programs, colours, wide characters, however they are cut, and every key there is.

use std::path::Path;

use reeve_types::workspace::processes::{TerminalInput, TerminalOutput};
use serde_json::json;

use crate::running::Running;
use crate::terminals_shared::{Viewer, open};

/// Writes a file to its terminal in pieces of one to seven bytes, so that every character of several bytes is cut, and
/// waits for a key.
const SHOW: &str = "\
import os, sys, tty
tty.setraw(0)
shown = open(sys.argv[1], 'rb').read()
at = size = 0
while at < len(shown):
    size = size % 7 + 1
    at += os.write(1, shown[at:at + size])
os.read(0, 1)
";

/// Tells in hexadecimal digits what is typed, byte by byte, until it is as much as it was told to wait for.
const TAKE: &str = "\
import os, sys, tty
tty.setraw(0)
os.write(1, b'ready;')
taken = b''
while len(taken) < int(sys.argv[1]):
    taken += os.read(0, 65536)
os.write(1, taken.hex().encode() + b';')
";

/// A full-screen program: 256 colours, wide characters, keys with names, and a new size.
const SCREEN: &str = "\
import curses, locale, os
locale.setlocale(locale.LC_ALL, 'C.UTF-8')
os.environ['ESCDELAY'] = '2000'
def screen(window):
    curses.use_default_colors()
    curses.init_pair(1, 208, 17)
    window.addstr(0, 0, '漢字かな🦀größe', curses.color_pair(1))
    window.refresh()
    while True:
        key = window.getkey()
        if key == 'q':
            return
        rows, columns = window.getmaxyx()
        window.addstr(2, 0, 'key=%s size=%dx%d.' % (key, columns, rows))
        window.refresh()
curses.wrapper(screen)
";

/// What full-screen programs write, and what none would: every colour, every byte.
fn everything() -> Vec<u8> {
    let mut all =
        b"\x1b[?1049h\x1b[2J\x1b[H\x1b[?25l\x1b[?1000;1006h\x1b[?2004h\x1b]0;gr\xc3\xb6\xc3\x9fe\x07".to_vec();
    for colour in 0..256 {
        let (row, ground) = (colour % 24 + 1, 255 - colour);
        let cell = format!(
            "\x1b[{row};{colour}H\x1b[38;5;{colour}m\x1b[48;5;{ground}m漢字🦀👩‍👩‍👧é\u{301}\x1b[38;2;1;2;{colour}m│\x1b[0m\r\n\t"
        );
        all.extend(cell.bytes());
    }
    all.extend(b"\x1b]8;;http://localhost/\x1b\\link\x1b]8;;\x1b\\\x1b(0lqk\x1b(B\x1b[5;10r\x1bP+q544e\x1b\\");
    all.extend(0..=255u8);
    all.extend(b"\xff\xfe\xc3\xe6\xbc\xf0\x9f\xa6");
    all.extend(b"\x1b[?2004l\x1b[?1049l\x1b[?25h\n");
    all
}

/// Every byte that a terminal shows until there are so many.
async fn shown(viewer: &mut Viewer, bytes: usize) -> Vec<u8> {
    let mut shown = Vec::new();
    while shown.len() < bytes {
        shown.extend(viewer.bytes().await);
    }
    shown
}

#[tokio::test]
async fn what_a_program_draws_arrives_byte_for_byte_and_is_drawn_again_for_who_comes_back() {
    let runtime = Running::start().await;
    let drawn: Vec<u8> = std::iter::repeat_n(everything(), 4).flatten().collect();
    std::fs::write(runtime.root().join("drawn"), &drawn).expect("a file");
    let id = open(&runtime, json!({"argv": ["python3", "-c", SHOW, "drawn"]})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    assert!(shown(&mut viewer, drawn.len()).await == drawn, "what is shown is what was drawn");
    drop(viewer);
    let mut again = Viewer::attach(&runtime, &id).await;
    assert!(matches!(again.ready, TerminalOutput::Ready { resumed: true, .. }));
    assert!(shown(&mut again, drawn.len()).await == drawn, "what is shown again is what was drawn");
    again.type_in("q").await;
    assert_eq!(again.until_exit().await, 0);
}

#[tokio::test]
async fn every_key_arrives_however_its_bytes_are_cut() {
    let runtime = Running::start().await;
    let mut typed: Vec<u8> = (0..=255).collect();
    typed.extend("größe 漢字 👩‍👩‍👧 \x1b[A\x1b[200~pasted\x1b[201~".bytes());
    let id = open(&runtime, json!({"argv": ["python3", "-c", TAKE, typed.len().to_string()]})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    viewer.until("ready;").await;
    for byte in &typed {
        viewer.raw(&[0, 0, 0, 0, 1, *byte]).await;
    }
    let told = viewer.until(";").await;
    let expected: String = typed.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(told.trim_end_matches(';'), expected);
    assert_eq!(viewer.until_exit().await, 0);
}

#[tokio::test]
async fn a_full_screen_program_has_its_colours_wide_characters_keys_and_size() {
    let runtime = Running::start().await;
    let id = open(&runtime, json!({"argv": ["python3", "-c", SCREEN]})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    let begun = viewer.until("größe").await;
    assert!(begun.contains("\x1b[?1049h") && begun.contains("漢字かな🦀größe"), "{begun:?}");
    assert!(begun.contains("38;5;208") && begun.contains("48;5;17"), "{begun:?}");
    viewer.type_in("\x1bOA").await;
    viewer.until("key=KEY_UP size=80x24.").await;
    viewer.control(&TerminalInput::Resize { cols: 132, rows: 50 }).await;
    viewer.until("KEY_RESIZE size=132x50.").await;
    viewer.type_in("q").await;
    let ended = viewer.until("\x1b[?1049l").await;
    assert!(!ended.contains("Traceback"), "{ended:?}");
    assert_eq!(viewer.until_exit().await, 0);
}

/// The editor that the guide names, where this machine has it: it is not what the tests are installed with.
#[tokio::test]
async fn vim_and_less_work() {
    if !Path::new("/usr/bin/vim").exists() || !Path::new("/usr/bin/less").exists() {
        println!("skipped: vim or less is not installed");
        return;
    }
    let runtime = Running::start().await;
    let settings = "set nomore shortmess=I encoding=utf-8 noshowcmd | hi Normal ctermfg=213 ctermbg=17";
    // Vim itself says when it has taken the new size in: what is typed at once might be read before it.
    let resized = "autocmd VimResized * call append('$', 'size ' . &columns . 'x' . &lines) | redraw!";
    let argv = ["vim", "-u", "NONE", "-N", "-c", settings, "-c", resized, "note.txt"];
    let id = open(&runtime, json!({"argv": argv})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    let begun = viewer.until("38;5;213").await;
    assert!(begun.contains("\x1b[?1049h"), "{begun:?}");
    viewer.type_in("ifirst 漢字🦀\x1b").await;
    viewer.until("🦀").await;
    viewer.control(&TerminalInput::Resize { cols: 132, rows: 50 }).await;
    viewer.until("132x50").await;
    viewer.type_in(":wq\r").await;
    viewer.until("\x1b[?1049l").await;
    assert_eq!(viewer.until_exit().await, 0);
    let saved = std::fs::read_to_string(runtime.root().join("note.txt")).expect("the file");
    assert_eq!(saved, "first 漢字🦀\nsize 132x50\n");

    let lines: String = (1..=500).map(|line| format!("\x1b[38;5;{}mline {line}\x1b[0m\n", line % 256)).collect();
    std::fs::write(runtime.root().join("lines"), lines).expect("a file");
    let id = open(&runtime, json!({"argv": ["less", "-R", "lines"]})).await;
    let mut viewer = Viewer::attach(&runtime, &id).await;
    let top = viewer.until("line 23").await;
    assert!(top.contains("\x1b[38;5;1mline 1\x1b[0m"), "{top:?}");
    viewer.type_in("G").await;
    viewer.until("line 500").await;
    viewer.type_in("q").await;
    assert_eq!(viewer.until_exit().await, 0);
}
