//! What is typed into a terminal by an act: text as it stands, and keys by their names, so that whoever approves it reads
//! exactly what is pressed.

use reeve_types::workspace::processes::TYPED_BYTES_MAX;

/// Most keys that one act presses after its text.
const KEYS_MAX: usize = 64;

/// A key that is no letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Key {
    Enter,
    Tab,
    Escape,
    Backspace,
    Delete,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
    CtrlA,
    CtrlC,
    CtrlD,
    CtrlE,
    CtrlK,
    CtrlL,
    CtrlR,
    CtrlU,
    CtrlW,
    CtrlZ,
    CtrlBackslash,
}

impl Key {
    /// Every key, by its name.
    pub(crate) const NAMES: [&str; 24] = [
        "enter",
        "tab",
        "escape",
        "backspace",
        "delete",
        "up",
        "down",
        "left",
        "right",
        "home",
        "end",
        "page_up",
        "page_down",
        "ctrl_a",
        "ctrl_c",
        "ctrl_d",
        "ctrl_e",
        "ctrl_k",
        "ctrl_l",
        "ctrl_r",
        "ctrl_u",
        "ctrl_w",
        "ctrl_z",
        "ctrl_backslash",
    ];

    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Enter => b"\r",
            Self::Tab => b"\t",
            Self::Escape => b"\x1b",
            Self::Backspace => b"\x7f",
            Self::Delete => b"\x1b[3~",
            Self::Up => b"\x1b[A",
            Self::Down => b"\x1b[B",
            Self::Right => b"\x1b[C",
            Self::Left => b"\x1b[D",
            Self::Home => b"\x1b[H",
            Self::End => b"\x1b[F",
            Self::PageUp => b"\x1b[5~",
            Self::PageDown => b"\x1b[6~",
            Self::CtrlA => b"\x01",
            Self::CtrlC => b"\x03",
            Self::CtrlD => b"\x04",
            Self::CtrlE => b"\x05",
            Self::CtrlK => b"\x0b",
            Self::CtrlL => b"\x0c",
            Self::CtrlR => b"\x12",
            Self::CtrlU => b"\x15",
            Self::CtrlW => b"\x17",
            Self::CtrlZ => b"\x1a",
            Self::CtrlBackslash => b"\x1c",
        }
    }
}

/// Refuses what is not typed by one act.
pub(crate) fn check_typed(text: &str, keys: &[Key]) -> Result<(), String> {
    if text.len() > TYPED_BYTES_MAX {
        return Err(format!("one act types at most {TYPED_BYTES_MAX} bytes; write a file and name it instead"));
    }
    if keys.len() > KEYS_MAX {
        return Err(format!("one act presses at most {KEYS_MAX} keys after its text"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return Err(
            "`text` holds control characters other than the line break and the tab; name keys in `keys`".to_owned()
        );
    }
    if text.is_empty() && keys.is_empty() {
        return Err("there is neither `text` to be typed nor a key to be pressed".to_owned());
    }
    Ok(())
}

/// As a keyboard sends it: a line break is the key Enter.
pub(super) fn keystrokes(text: &str, keys: &[Key]) -> Vec<u8> {
    let mut bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'\n' { b'\r' } else { byte }).collect();
    bytes.extend(keys.iter().flat_map(|key| key.bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_the_name_that_is_offered() {
        for name in Key::NAMES {
            let key: Key = serde_json::from_value(name.into()).unwrap();
            assert_eq!(serde_json::to_value(key).unwrap(), name);
            assert!(!key.bytes().is_empty());
        }
    }

    #[test]
    fn text_is_typed_as_it_stands_and_keys_are_named() {
        assert_eq!(keystrokes("a\nb", &[Key::Enter, Key::CtrlC]), b"a\rb\r\x03");
        assert!(check_typed("print('größe')\n\tx", &[]).is_ok());
        assert!(check_typed("", &[Key::Up]).is_ok());
        assert!(check_typed("", &[]).is_err());
        assert!(check_typed("rm\x1b[2K", &[]).unwrap_err().contains("`keys`"), "nothing is hidden from who approves");
        assert!(check_typed(&"x".repeat(TYPED_BYTES_MAX + 1), &[]).is_err());
        assert!(check_typed("x", &[Key::Enter; KEYS_MAX + 1]).is_err());
    }
}
