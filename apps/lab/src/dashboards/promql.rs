//! What a PromQL expression asks for: its selectors, and the labels that each of them has to have.
//!
//! A scanner and no parser: Prometheus itself says whether an expression is valid. The tests use this file too.

/// Names before `(` or `by` that are no metric.
const AGGREGATIONS: [&str; 12] =
    ["avg", "bottomk", "count", "count_values", "group", "max", "min", "quantile", "stddev", "stdvar", "sum", "topk"];
/// Words between the operands of a binary operator.
const OPERATORS: [&str; 6] = ["and", "atan2", "bool", "or", "offset", "unless"];
/// Words before a list of labels in parentheses.
const LABEL_LISTS: [&str; 6] = ["by", "group_left", "group_right", "ignoring", "on", "without"];

/// One `label="value"` of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    /// `=`, `!=`, `=~` or `!~`.
    pub(crate) operator: String,
    pub(crate) value: String,
}

/// One metric that an expression reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
    /// Labels by which the series of this selector are grouped or joined.
    pub(crate) grouped: Vec<String>,
    /// The selector as it stands in the expression, without a range.
    pub(crate) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Text(String),
    Sign(char),
}

/// Every selector of an expression, in its order.
///
/// # Errors
/// When the expression ends inside of a string, of braces or of parentheses.
pub(crate) fn selectors(expression: &str) -> Result<Vec<Selector>, String> {
    let tokens = tokens(expression)?;
    let mut scan = Scan { expression, tokens: &tokens, at: 0, found: Vec::new(), joined: Vec::new() };
    scan.run()?;
    let Scan { mut found, joined, .. } = scan;
    for selector in &mut found {
        selector.grouped.extend(joined.iter().cloned());
        selector.grouped.sort();
        selector.grouped.dedup();
    }
    Ok(found)
}

struct Scan<'a> {
    expression: &'a str,
    tokens: &'a [(Token<'a>, usize)],
    at: usize,
    found: Vec<Selector>,
    /// Labels of `on`: both sides have to have them.
    joined: Vec<String>,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<(), String> {
        // For each open parenthesis: the labels that an aggregation in front of it names, and where in `found` it begins.
        let mut open: Vec<(Vec<String>, usize)> = Vec::new();
        let mut pending: Vec<String> = Vec::new();
        let mut closed = 0;
        while let Some((token, _)) = self.tokens.get(self.at) {
            match token {
                Token::Sign('(') => {
                    open.push((std::mem::take(&mut pending), self.found.len()));
                    self.at += 1;
                }
                Token::Sign(')') => {
                    let (labels, from) = open.pop().ok_or_else(|| self.wrong("a ) too many"))?;
                    for selector in &mut self.found[from..] {
                        selector.grouped.extend(labels.iter().cloned());
                    }
                    closed = from;
                    self.at += 1;
                }
                Token::Sign('[') => self.skip_range()?,
                Token::Sign('{') => self.selector(String::new(), self.at)?,
                Token::Word(word) if LABEL_LISTS.contains(word) => {
                    let (labels, next) = labels(self.tokens, self.at + 1)?;
                    self.at = next;
                    match *word {
                        "by" if matches!(self.tokens.get(next), Some((Token::Sign('('), _))) => pending = labels,
                        // Behind what is aggregated: it has just been closed.
                        "by" => {
                            for selector in &mut self.found[closed..] {
                                selector.grouped.extend(labels.iter().cloned());
                            }
                        }
                        "on" => self.joined.extend(labels),
                        // What is dropped or taken over need not be on both sides.
                        _ => {}
                    }
                }
                Token::Word(word) if self.is_metric(word) => self.selector((*word).to_owned(), self.at + 1)?,
                _ => self.at += 1,
            }
        }
        if open.is_empty() { Ok(()) } else { Err(self.wrong("a ( is not closed")) }
    }

    fn is_metric(&self, word: &str) -> bool {
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
        word.starts_with(letter)
            && !OPERATORS.contains(&word)
            && !AGGREGATIONS.contains(&word)
            && !["Inf", "inf", "NaN", "nan"].contains(&word)
            && !matches!(self.tokens.get(self.at + 1), Some((Token::Sign('('), _)))
    }

    /// A selector whose name ends before the token `next`, which may open its braces.
    fn selector(&mut self, metric: String, next: usize) -> Result<(), String> {
        let start = self.tokens[self.at].1;
        let mut end = start + metric.len();
        self.at = next;
        let mut matchers = Vec::new();
        if let Some((Token::Sign('{'), _)) = self.tokens.get(self.at) {
            self.at += 1;
            loop {
                match self.tokens.get(self.at) {
                    Some((Token::Sign('}'), at)) => {
                        end = at + 1;
                        self.at += 1;
                        break;
                    }
                    Some((Token::Sign(','), _)) => self.at += 1,
                    Some((Token::Word(label), _)) => {
                        let label = (*label).to_owned();
                        self.at += 1;
                        let mut operator = String::new();
                        while let Some((Token::Sign(sign @ ('=' | '!' | '~')), _)) = self.tokens.get(self.at) {
                            operator.push(*sign);
                            self.at += 1;
                        }
                        let Some((Token::Text(value), _)) = self.tokens.get(self.at) else {
                            return Err(self.wrong("a label without a value"));
                        };
                        matchers.push(Matcher { label, operator, value: value.clone() });
                        self.at += 1;
                    }
                    _ => return Err(self.wrong("braces that are not closed")),
                }
            }
        }
        let text = self.expression[start..end].to_owned();
        self.found.push(Selector { metric, matchers, grouped: Vec::new(), text });
        Ok(())
    }

    fn skip_range(&mut self) -> Result<(), String> {
        while let Some((token, _)) = self.tokens.get(self.at) {
            self.at += 1;
            if *token == Token::Sign(']') {
                return Ok(());
            }
        }
        Err(self.wrong("a range that is not closed"))
    }

    fn wrong(&self, what: &str) -> String {
        format!("{what}: {}", self.expression)
    }
}

/// The labels in the parentheses that begin at a token, and the token behind them.
fn labels(tokens: &[(Token<'_>, usize)], mut at: usize) -> Result<(Vec<String>, usize), String> {
    let mut labels = Vec::new();
    // `group_left` may stand without a list.
    if !matches!(tokens.get(at), Some((Token::Sign('('), _))) {
        return Ok((labels, at));
    }
    loop {
        at += 1;
        match tokens.get(at) {
            Some((Token::Sign(')'), _)) => return Ok((labels, at + 1)),
            Some((Token::Sign(','), _)) => {}
            Some((Token::Word(label), _)) => labels.push((*label).to_owned()),
            _ => return Err("a list of labels that is not closed".to_owned()),
        }
    }
}

/// The tokens with their places. A number with its unit is one word.
fn tokens(expression: &str) -> Result<Vec<(Token<'_>, usize)>, String> {
    let mut tokens = Vec::new();
    let mut rest = expression.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match c {
            '#' => while rest.next_if(|(_, c)| *c != '\n').is_some() {},
            '"' | '\'' | '`' => {
                let mut text = String::new();
                loop {
                    match rest.next() {
                        Some((_, '\\')) if c != '`' => {
                            if let Some((_, escaped)) = rest.next() {
                                text.push(escaped);
                            }
                        }
                        Some((_, end)) if end == c => break,
                        Some((_, other)) => text.push(other),
                        None => return Err(format!("a string that is not closed: {expression}")),
                    }
                }
                tokens.push((Token::Text(text), at));
            }
            c if is_word(c) => {
                let mut end = at + c.len_utf8();
                while let Some((next, c)) = rest.next_if(|(_, c)| is_word(*c)) {
                    end = next + c.len_utf8();
                }
                tokens.push((Token::Word(&expression[at..end]), at));
            }
            c if c.is_whitespace() => {}
            sign => tokens.push((Token::Sign(sign), at)),
        }
    }
    Ok(tokens)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '$')
}

#[cfg(test)]
mod tests {
    use super::selectors;

    fn seen(expression: &str) -> Vec<String> {
        let describe = |selector: super::Selector| {
            let matched: Vec<_> =
                selector.matchers.iter().map(|m| format!("{}{}{}", m.label, m.operator, m.value)).collect();
            format!("{}|{}|{}", selector.metric, matched.join(","), selector.grouped.join(","))
        };
        selectors(expression).unwrap().into_iter().map(describe).collect()
    }

    #[test]
    fn selectors_are_found_wherever_they_stand() {
        for (expression, expected) in [
            ("up", &["up||"][..]),
            ("up == 0 or vector(1)", &["up||"]),
            ("1.5e3 * (a:b:c{x=\"}\"} > bool 2) offset 5m", &["a:b:c|x=}|"]),
            ("{job=~\"a|b\"}", &["|job=~a|b|"]),
            ("count((time() - start_seconds{a!='b'}) < 600)", &["start_seconds|a!=b|"]),
            ("min_over_time(state[30s]) > 0 # not_this", &["state||"]),
            ("rate(x_total{a=\"1\", b!~\"2\",}[$__rate_interval])", &["x_total|a=1,b!~2|"]),
            ("topk(8, sum by (cmd) (rate(x[5m])))", &["x||cmd"]),
        ] {
            assert_eq!(seen(expression), expected, "{expression}");
        }
    }

    #[test]
    fn labels_belong_to_what_is_grouped_by_them() {
        assert_eq!(seen("sum by (a) (x) / sum(y) by (b)"), ["x||a", "y||b"]);
        assert_eq!(seen("sum by (a) (max by (b, c) (x) + y)"), ["x||a,b,c", "y||a"]);
        assert_eq!(seen("x / on (n, p) group_left () max by (n) (y)"), ["x||n,p", "y||n,p"]);
        assert_eq!(seen("sum without (a) (x)"), ["x||"]);
    }

    #[test]
    fn the_text_of_a_selector_can_be_asked_for() {
        let found = selectors("sum(rate(a{b=\"c d\"}[5m])) + e").unwrap();
        assert_eq!(found[0].text, "a{b=\"c d\"}");
        assert_eq!(found[1].text, "e");
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for expression in ["a{b=\"c", "a{b=", "a{b=\"c\"", "sum(a", "a)", "rate(a[5m", "sum by (a"] {
            assert!(selectors(expression).is_err(), "{expression}");
        }
    }
}
