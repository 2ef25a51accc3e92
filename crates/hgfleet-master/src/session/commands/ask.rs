//! Lines to and from a person, bounded.

use std::io::{self, Read, Write};

use super::Refused;

/// Longest line that a person may type, bytes.
const LINE_BYTES_MAX: usize = 4096;
/// Lines that one question takes, at most: what answers a menu with nonsense without end is no person.
const LINES_MAX: usize = 100;

/// What a person answered to a menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    /// The first way out, or the end of the input.
    Exit,
    /// One of the options, counted from 0.
    Option(usize),
}

/// A conversation.
pub(super) struct Dialog<R, W> {
    input: R,
    output: W,
}

impl<R: Read, W: Write> Dialog<R, W> {
    pub(super) fn new(input: R, output: W) -> Dialog<R, W> {
        Dialog { input, output }
    }

    /// Prints a line.
    pub(super) fn say(&mut self, line: &str) -> Result<(), Refused> {
        self.print(&format!("{line}\n"))
    }

    /// Prints bytes as they are.
    pub(super) fn print_bytes(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let printed = self.output.write_all(bytes).and_then(|()| self.output.flush());
        printed.map_err(|error| format!("the client takes nothing any more: {error}"))
    }

    fn print(&mut self, text: &str) -> Result<(), Refused> {
        self.print_bytes(text.as_bytes())
    }

    /// Asks for one of these. What is none of them is asked for again.
    pub(super) fn choose(&mut self, options: &[String], prompt: &str) -> Result<Chosen, Refused> {
        let mut menu = "\n0) Exit.\n".to_owned();
        for (number, option) in options.iter().enumerate() {
            menu.push_str(&format!("{}) {option}\n", number + 1));
        }
        self.print(&format!("{menu}\n"))?;
        for _ in 0..LINES_MAX {
            self.print(&format!("{prompt} "))?;
            let Some(line) = self.line()? else { break };
            match line.trim().parse::<usize>() {
                Ok(0) => break,
                Ok(number) if number <= options.len() => return Ok(Chosen::Option(number - 1)),
                _ => self.say(&format!("Type a number from 0 to {}.", options.len()))?,
            }
        }
        Ok(Chosen::Exit)
    }

    /// Asks whether to go on. The end of the input is no yes.
    pub(super) fn confirm(&mut self, prompt: &str) -> Result<bool, Refused> {
        let options = ["Yes.", "No."].map(str::to_owned);
        Ok(self.choose(&options, prompt)? == Chosen::Option(0))
    }

    /// Asks for a line; none at the end of the input.
    pub(super) fn ask(&mut self, prompt: &str) -> Result<Option<String>, Refused> {
        self.print(&format!("{prompt} "))?;
        self.line()
    }

    /// Reads all that comes.
    pub(super) fn rest(&mut self, bytes_max: u64) -> Result<Vec<u8>, Refused> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(bytes_max + 1).read_to_end(&mut bytes);
        read.map_err(broken)?;
        match bytes.len() as u64 > bytes_max {
            true => Err(format!("refused: more than {bytes_max} bytes, on standard input. Give it one .pub file")),
            false => Ok(bytes),
        }
    }

    /// Reads a line, byte for byte: what follows it is the next question's. A carriage return ends one too.
    fn line(&mut self) -> Result<Option<String>, Refused> {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            match self.input.read(&mut byte) {
                Ok(0) if line.is_empty() => return Ok(None),
                Ok(0) => break,
                Ok(_) if byte[0] == b'\n' => break,
                Ok(_) if line.len() >= LINE_BYTES_MAX => {
                    return Err(format!("refused: longer than {LINE_BYTES_MAX} bytes, the line. Type less"));
                }
                Ok(_) => line.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(error)),
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = String::from_utf8(line);
        text.map(Some).map_err(|_| "refused: not UTF-8, the line. Type it again".to_owned())
    }
}

fn broken(error: io::Error) -> Refused {
    format!("the client says nothing any more: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(typed: &str) -> (Chosen, String) {
        let mut output = Vec::new();
        let options = ["one".to_owned(), "two".to_owned()];
        let chosen = Dialog::new(typed.as_bytes(), &mut output).choose(&options, "Which?").unwrap();
        (chosen, String::from_utf8(output).unwrap())
    }

    #[test]
    fn a_menu_is_asked_until_it_is_answered_or_nothing_comes() {
        assert_eq!(chosen("2\n"), (Chosen::Option(1), "\n0) Exit.\n1) one\n2) two\n\nWhich? ".to_owned()));
        assert_eq!(chosen(" 1 \r\n2\n").0, Chosen::Option(0));
        for end in ["0\n", "", "x\n", "3\n0\n", "-1\n", "99999999999999999999999\n"] {
            assert_eq!(chosen(end).0, Chosen::Exit, "{end:?}");
        }
        assert_eq!(chosen("x\n\n3\n1").0, Chosen::Option(0));
        assert!(chosen("3\n0\n").1.contains("Type a number from 0 to 2.\nWhich? "));
        assert_eq!(chosen(&"x\n".repeat(10_000)).0, Chosen::Exit);
    }

    #[test]
    fn lines_are_bounded() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        assert!(Dialog::new(long.as_bytes(), Vec::new()).ask("?").is_err());
        assert!(Dialog::new(&b"\xff\n"[..], Vec::new()).ask("?").is_err());
        assert!(Dialog::new(long.as_bytes(), Vec::new()).rest(100).is_err());
        assert_eq!(Dialog::new(&b"abc"[..], Vec::new()).rest(3).as_deref(), Ok(&b"abc"[..]));
    }
}
