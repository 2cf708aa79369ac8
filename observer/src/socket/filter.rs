//! The filter language of `ss` (ss(8), FILTER): states, and an expression over the ends of a socket.
//!
//! ```text
//! filter     = { "state" STATE | "exclude" STATE } [ expression ]
//! expression = term { ("or" | "|" | "||") term }
//! term       = factor { ["and" | "&" | "&&"] factor }
//! factor     = ("not" | "!") factor | "(" expression ")" | condition
//! condition  = ("src" | "dst") [ "=" | "!=" ] HOST | ("sport" | "dport") COMPARISON PORT
//!            | "dev" [ "=" | "!=" ] INTERFACE | "fwmark" [ "=" | "!=" ] MARK [ "/" MASK ] | "cgroup" [ "=" | "!=" ] PATH
//!            | "autobound"
//! HOST       = [ "inet:" | "inet6:" ] ( ( ADDRESS | NAME ) [ "/" BITS ] [ ":" PORT ] | ":" PORT | "*" )
//! ```

mod host;

use std::cmp::Ordering;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use self::host::Host;
use super::Diag;
use crate::tracker::States;

/// Which sockets are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The states that it names; `None` where it names none.
    pub states: Option<States>,
    expression: Option<Expression>,
}

/// What keeps a filter from being one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    /// Words were expected, and the filter ends.
    #[error("the filter ends where {0} should follow")]
    Ends(&'static str),
    /// A word does not fit.
    #[error("{word:?} stands where {expected} should")]
    Unexpected {
        /// The word.
        word: String,
        /// What could stand there.
        expected: &'static str,
    },
    /// Not a state.
    #[error("ss has no state {word}; there are {known}")]
    State {
        /// The word.
        word: String,
        /// What there is.
        known: String,
    },
    /// Neither an address nor a prefix nor a name.
    #[error(
        "{0:?} is neither an address nor a prefix (10.0.0.0/8, [2001:db8::]/32, 10.0.0.1:443, :443), nor a known name"
    )]
    Host(String),
    /// Neither a port nor the name of a service.
    #[error("{0:?} is neither a port nor a known service")]
    Port(String),
    /// No mark.
    #[error("{0:?} is no mark (1, 0x1, 0x1/0xff)")]
    Mark(String),
    /// No control group.
    #[error("there is no control group {0:?} (cgroup v2, by its path below the root or in the file system)")]
    Cgroup(String),
}

/// What the words of a filter stand for.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// Tells the port of a service; `None` where there is no such service.
    pub service: &'a dyn Fn(&str) -> Option<u16>,
    /// Tells the addresses of a host by its name; none where there is no such host.
    pub host: &'a dyn Fn(&str) -> Vec<IpAddr>,
    /// Tells the identifier of a control group by its path; `None` where there is none.
    pub cgroup: &'a dyn Fn(&str) -> Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Host { end: End, host: Host, port: Option<u16> },
    Port { end: End, comparison: Comparison, port: u16 },
    Interface(String),
    Mark { mark: u32, mask: u32 },
    Cgroup(u64),
    Autobound,
}

/// What a filter may ask of a socket that its message does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aside<'a> {
    /// The name of the interface that it is bound to.
    pub interface: Option<&'a str>,
    /// Whether the kernel chose its port (`SOCK_BINDPORT_LOCK` is not set), where [`Filter::asks_for_autobound`].
    pub is_autobound: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Filter {
    /// Reads a filter; its words may be parted as they like.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(words: &[String], names: Names<'_>) -> Result<Self, FilterError> {
        let words: Vec<_> = words.iter().flat_map(|word| tokens(word)).collect();
        let mut parser = Parser { words: &words, names, depth: 0 };
        let states = parser.states()?;
        let expression = if parser.words.is_empty() { None } else { Some(parser.expression()?) };
        match parser.words.first() {
            None => Ok(Self { states, expression }),
            Some(word) => Err(unexpected(word, "`and`, `or` or the end")),
        }
    }

    /// Whether a socket is wanted, its state aside.
    pub fn wants(&self, diag: &Diag<'_>, aside: Aside<'_>) -> bool {
        self.expression.as_ref().is_none_or(|expression| expression.holds(diag, aside))
    }

    /// Whether it asks for marks, which the kernel tells only with CAP_NET_ADMIN.
    pub fn asks_for_marks(&self) -> bool {
        self.asks_for(&|one| matches!(one, Expression::Mark { .. }))
    }

    /// Whether it asks for sockets whose port the kernel chose: it does not say so of a socket, but can be asked for these.
    pub fn asks_for_autobound(&self) -> bool {
        self.asks_for(&|one| *one == Expression::Autobound)
    }

    fn asks_for(&self, what: &impl Fn(&Expression) -> bool) -> bool {
        self.expression.as_ref().is_some_and(|expression| expression.has(what))
    }
}

impl Expression {
    fn holds(&self, diag: &Diag<'_>, aside: Aside<'_>) -> bool {
        let socket = &diag.socket;
        match self {
            Self::Any(all) => all.iter().any(|one| one.holds(diag, aside)),
            Self::All(all) => all.iter().all(|one| one.holds(diag, aside)),
            Self::Not(one) => !one.holds(diag, aside),
            Self::Interface(name) => aside.interface == Some(name) || name.parse() == Ok(socket.interface),
            Self::Mark { mark, mask } => diag.mark().is_some_and(|own| own & mask == mark & mask),
            Self::Cgroup(cgroup) => diag.cgroup() == Some(*cgroup),
            Self::Autobound => aside.is_autobound,
            Self::Host { end, host, port } => {
                let (address, own) = end.of(socket);
                port.is_none_or(|port| port == own) && host.is(socket, address)
            }
            Self::Port { end, comparison, port } => comparison.holds(end.of(socket).1.cmp(port)),
        }
    }

    /// Whether it is, or holds, what is looked for.
    fn has(&self, what: &impl Fn(&Self) -> bool) -> bool {
        match self {
            Self::Any(all) | Self::All(all) => all.iter().any(|one| one.has(what)),
            Self::Not(one) => one.has(what),
            _ => what(self),
        }
    }
}

impl End {
    fn of(self, socket: &super::Socket) -> (IpAddr, u16) {
        match self {
            Self::Source => socket.local,
            Self::Destination => socket.peer,
        }
    }
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "=" | "==" | "eq" => Self::Equal,
            "!=" | "ne" | "neq" => Self::NotEqual,
            "<" | "lt" => Self::Less,
            "<=" | "le" | "leq" => Self::LessOrEqual,
            ">" | "gt" => Self::Greater,
            ">=" | "ge" | "geq" => Self::GreaterOrEqual,
            _ => return None,
        })
    }
}

/// Words and signs: parentheses and operators stand for themselves, with or without spaces around them.
fn tokens(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut token = String::from(letter);
        match letter {
            _ if letter.is_whitespace() => continue,
            '(' | ')' => {}
            '!' | '=' | '<' | '>' => token.extend(letters.next_if_eq(&'=')),
            '&' | '|' => token.extend(letters.next_if_eq(&letter)),
            _ => {
                let is_more = |letter: &char| !letter.is_whitespace() && !"()!=<>&|".contains(*letter);
                while let Some(letter) = letters.next_if(is_more) {
                    token.push(letter);
                }
            }
        }
        all.push(token);
    }
    all
}

struct Parser<'a> {
    words: &'a [String],
    names: Names<'a>,
    /// Parentheses and negations that are open.
    depth: usize,
}

/// Deeper expressions are refused: no person writes them.
const DEEPEST: usize = 64;

impl<'a> Parser<'a> {
    fn states(&mut self) -> Result<Option<States>, FilterError> {
        let mut states = None;
        while let Some(word @ ("state" | "exclude")) = self.peek() {
            let is_wanted = word == "state";
            self.next("`state`")?;
            let word = self.next("a state")?;
            let named = States::by_name(word).ok_or_else(|| FilterError::State {
                word: word.to_string(),
                known: States::NAMES.map(|(name, _)| name).join(", "),
            })?;
            states = Some(match (states, is_wanted) {
                (None, true) => named,
                (None, false) => named.complement(),
                (Some(before), true) => named | before,
                (Some(before), false) => before.difference(named),
            });
        }
        Ok(states)
    }

    fn expression(&mut self) -> Result<Expression, FilterError> {
        let mut all = vec![self.term()?];
        while self.take(&["or", "|", "||"]) {
            all.push(self.term()?);
        }
        Ok(one_or(all, Expression::Any))
    }

    fn term(&mut self) -> Result<Expression, FilterError> {
        let mut all = vec![self.factor()?];
        loop {
            let is_joined = self.take(&["and", "&", "&&"]);
            let ends = matches!(self.peek(), None | Some("or" | "|" | "||" | ")"));
            if ends && !is_joined {
                return Ok(one_or(all, Expression::All));
            }
            all.push(self.factor()?);
        }
    }

    fn factor(&mut self) -> Result<Expression, FilterError> {
        const EXPECTED: &str = "src, dst, sport, dport, dev, fwmark, cgroup, autobound, `not` or a parenthesis";
        if self.depth >= DEEPEST {
            return Err(unexpected(self.next(EXPECTED)?, "something less deeply nested"));
        }
        self.depth += 1;
        let factor = match self.next(EXPECTED)? {
            "not" | "!" => Expression::Not(Box::new(self.factor()?)),
            "(" => {
                let inner = self.expression()?;
                match self.next("a closing parenthesis")? {
                    ")" => inner,
                    other => return Err(unexpected(other, "`and`, `or` or a closing parenthesis")),
                }
            }
            "src" => self.host(End::Source)?,
            "dst" => self.host(End::Destination)?,
            "sport" => self.port(End::Source)?,
            "dport" => self.port(End::Destination)?,
            "dev" => self.equal("an interface", |_, word| Ok(Expression::Interface(word.to_string())))?,
            "fwmark" => self.equal("a mark", |_, word| {
                let (mark, mask) = mark(word).ok_or_else(|| FilterError::Mark(word.to_string()))?;
                Ok(Expression::Mark { mark, mask })
            })?,
            "cgroup" => self.equal("a path", |names, word| {
                let cgroup = (names.cgroup)(word).ok_or_else(|| FilterError::Cgroup(word.to_string()))?;
                Ok(Expression::Cgroup(cgroup))
            })?,
            "autobound" => Expression::Autobound,
            other => return Err(unexpected(other, EXPECTED)),
        };
        self.depth -= 1;
        Ok(factor)
    }

    /// A word that is to be the same, or another after `!=`.
    fn equal(
        &mut self,
        expected: &'static str,
        read: impl FnOnce(Names<'_>, &str) -> Result<Expression, FilterError>,
    ) -> Result<Expression, FilterError> {
        let is_not = self.take_negation();
        let expression = read(self.names, self.next(expected)?)?;
        Ok(if is_not { Expression::Not(Box::new(expression)) } else { expression })
    }

    /// Goes past `=` or `!=`, and tells which it was; without any it is the former.
    fn take_negation(&mut self) -> bool {
        let is_not = self.take(&["!=", "ne", "neq"]);
        if !is_not {
            self.take(&["=", "==", "eq"]);
        }
        is_not
    }

    fn host(&mut self, end: End) -> Result<Expression, FilterError> {
        let is_not = self.take_negation();
        let word = self.next("an address")?;
        let (host, port) = Host::parse(word, self.names.host).ok_or_else(|| FilterError::Host(word.to_string()))?;
        let port = port.filter(|port| *port != "*").map(|port| self.number(port)).transpose()?;
        let host = Expression::Host { end, host, port };
        Ok(if is_not { Expression::Not(Box::new(host)) } else { host })
    }

    fn port(&mut self, end: End) -> Result<Expression, FilterError> {
        const EXPECTED: &str = "a comparison (= != < <= > >=)";
        let word = self.next(EXPECTED)?;
        let comparison = Comparison::from_word(word).ok_or_else(|| unexpected(word, EXPECTED))?;
        let word = self.next("a port")?;
        // `ss` wants a colon before it; most forget it.
        let port = self.number(word.rsplit_once(':').map_or(word, |(_, port)| port))?;
        Ok(Expression::Port { end, comparison, port })
    }

    fn number(&self, word: &str) -> Result<u16, FilterError> {
        let port = u16::from_str(word).ok().or_else(|| (self.names.service)(word));
        port.ok_or_else(|| FilterError::Port(word.to_string()))
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.first().map(String::as_str)
    }

    fn next(&mut self, expected: &'static str) -> Result<&'a str, FilterError> {
        let (first, rest) = self.words.split_first().ok_or(FilterError::Ends(expected))?;
        self.words = rest;
        Ok(first)
    }

    /// Goes past the next word where it is one of these.
    fn take(&mut self, any: &[&str]) -> bool {
        match self.words.split_first() {
            Some((first, rest)) if any.contains(&first.as_str()) => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }
}

fn one_or(mut all: Vec<Expression>, several: impl FnOnce(Vec<Expression>) -> Expression) -> Expression {
    match all.pop() {
        Some(only) if all.is_empty() => only,
        last => {
            all.extend(last);
            several(all)
        }
    }
}

/// `MARK`, or `MARK/MASK`.
fn mark(word: &str) -> Option<(u32, u32)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    match word.split_once('/') {
        Some((mark, mask)) => Some((number(mark)?, number(mask)?)),
        None => Some((number(word)?, u32::MAX)),
    }
}

fn unexpected(word: &str, expected: &'static str) -> FilterError {
    FilterError::Unexpected { word: word.to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::super::Diag;
    use super::super::tests::message;
    use super::*;

    fn parse(text: &str) -> Result<Filter, FilterError> {
        let service = |name: &str| (name == "https").then_some(443);
        let host =
            |name: &str| if name == "web.lab" { vec![[10, 0, 0, 2].into(), [10, 0, 0, 3].into()] } else { Vec::new() };
        let cgroup = |path: &str| (path == "/user.slice").then_some(9);
        Filter::parse(&[text.to_string()], Names { service: &service, host: &host, cgroup: &cgroup })
    }

    /// Whether a filter wants the socket 10.0.0.1:1000 → 10.0.0.2:443 on eth0, with the mark 0x12, of the cgroup 9, whose
    /// port the kernel chose.
    fn wants(text: &str) -> bool {
        let bytes = message(1, 1000, 443, &[(15, &0x12_u32.to_ne_bytes()), (21, &9_u64.to_ne_bytes())]);
        let diag = Diag::parse(&bytes).expect("it is one");
        parse(text)
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .wants(&diag, Aside { interface: Some("eth0"), is_autobound: true })
    }

    #[test]
    fn expressions_are_those_of_ss() {
        let holds = [
            "",
            "dport = :443",
            "dport = 443",
            "dport = :https",
            "dport == https and sport = 1000",
            "sport >= :1000 sport le 1000",
            "( sport = :1 or dport = :443 )",
            "(sport=:1||dport=:443)&&!sport=:2",
            "not sport = :1",
            "dport != :80",
            "src 10.0.0.0/8",
            "src 10.0.0.1:1000",
            "src = 10.0.0.0/8:1000",
            "dst != 10.0.0.1",
            "dst :443",
            "dst [::ffff:10.0.0.2]:443",
            "dst [::ffff:10.0.0.0]/104:443",
            "dst ::/0",
            "src *",
            "src *:*",
            "dst web.lab",
            "dst web.lab:https",
            "dst inet:web.lab",
            "src inet:10.0.0.1",
            "src inet:*",
            "dst inet::443",
            "sport = :1 and dport = :2 or dport = :443",
            "dev eth0",
            "dev != eth1 and dev = 0",
            "fwmark = 0x12",
            "fwmark 18 and fwmark = 0x10/0x10",
            "fwmark != 0x1/0x1",
            "cgroup /user.slice",
            "not cgroup != /user.slice",
            "autobound",
            "autobound dport = :443",
        ];
        for text in holds {
            assert!(wants(text), "{text}");
        }
        for text in [
            "dport > :443",
            "src 10.0.0.2",
            "dst 192.168.0.0/16",
            "not dst :443",
            "dst 2001:db8::/32",
            "src *:1",
            "src web.lab",
            "dst web.lab:80",
            "src inet6:*",
            "dst inet6::443",
            "dev eth1",
            "dev 3",
            "fwmark = 0x13",
            "fwmark != 18",
            "cgroup != /user.slice",
            "not autobound",
        ] {
            assert!(!wants(text), "{text}");
        }
    }

    #[test]
    fn states_come_first_and_add_up() {
        let states = |text| parse(text).map(|filter| filter.states);
        assert_eq!(states("state established state syn-sent"), Ok(Some(States::ESTAB | States::SYN_SENT)));
        assert_eq!(states("exclude listening"), Ok(Some(States::LISTEN.complement())));
        assert_eq!(
            states("state connected exclude TIME-WAIT sport = 1")
                .map(|all| all.map(|all| all.contain(crate::record::TcpState::TimeWait))),
            Ok(Some(false))
        );
        assert_eq!(states("sport = 1"), Ok(None));
        let error = states("state open").expect_err("there is none");
        assert!(error.to_string().starts_with("ss has no state open; there are established, estab, syn-sent"));
    }

    #[test]
    fn what_is_no_filter_says_where_it_fails() {
        let said = |text: &str| parse(text).expect_err(text).to_string();
        assert_eq!(said("dport ="), "the filter ends where a port should follow");
        assert_eq!(said("dport 80"), "\"80\" stands where a comparison (= != < <= > >=) should");
        assert_eq!(said("sport = :80 )"), "\")\" stands where `and`, `or` or the end should");
        assert_eq!(said("( sport = :80"), "the filter ends where a closing parenthesis should follow");
        assert_eq!(said("sport = :gopher"), "\"gopher\" is neither a port nor a known service");
        assert!(said("dst 10.0.0.0/33").contains("neither an address nor a prefix"));
        assert!(said("dst example.org").contains("nor a known name"));
        assert!(said("dst inet6:10.0.0.1").contains("neither an address"), "of the other family");
        assert!(said("fwmark = 0xg").contains("no mark"));
        assert!(said("cgroup = /none").contains("no control group"));
        assert_eq!(said("dev"), "the filter ends where an interface should follow");
        assert!(parse("not ( dev lo or fwmark = 1 )").is_ok_and(|filter| filter.asks_for_marks()));
        assert!(parse("sport = 1 or ( autobound )").is_ok_and(|filter| filter.asks_for_autobound()));
        assert!(parse("sport = 1").is_ok_and(|filter| !filter.asks_for_autobound()));
        assert!(said(&"(".repeat(1000)).contains("less deeply nested"));
        assert!(said(&"not ".repeat(100_000)).contains("less deeply nested"));
    }

    proptest::proptest! {
        #[test]
        fn no_words_make_it_panic(words in "[a-z0-9:/.()!=<>&| \\[\\]]{0,40}") {
            let _ = parse(&words);
        }
    }
}
