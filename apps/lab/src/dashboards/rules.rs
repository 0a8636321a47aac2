//! The rules of Prometheus, as the files of this repository write them.
//!
//! Reads what those files use of YAML; promtool says whether they are valid. The tests use this file too.

/// What a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Record,
    Alert,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) kind: Kind,
    /// The name of the alert, or of what is recorded.
    pub(crate) name: String,
    pub(crate) expression: String,
}

/// All rules of a file, in its order.
pub(crate) fn rules(file: &str) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    // The indentation of a block `expr: |` that is being read.
    let mut block: Option<usize> = None;
    for line in file.lines() {
        let text = line.trim();
        let indent = line.len() - line.trim_start().len();
        if text.starts_with('#') {
            continue;
        }
        for (key, kind) in [("- record:", Kind::Record), ("- alert:", Kind::Alert)] {
            if let Some(name) = text.strip_prefix(key) {
                let name = name.trim().to_owned();
                rules.push(Rule { kind, name, expression: String::new() });
                block = None;
            }
        }
        let Some(rule) = rules.last_mut() else { continue };
        match (block, text.strip_prefix("expr:").map(str::trim)) {
            (Some(at), _) if indent > at || text.is_empty() => {
                rule.expression.push_str(text);
                rule.expression.push('\n');
            }
            (_, Some("|")) => block = Some(indent),
            (_, Some(expression)) => {
                unquoted(expression).clone_into(&mut rule.expression);
                block = None;
            }
            _ => block = None,
        }
    }
    for rule in &mut rules {
        rule.expression.truncate(rule.expression.trim_end().len());
    }
    rules
}

fn unquoted(text: &str) -> &str {
    ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{Kind, rules};

    #[test]
    fn expressions_are_read_whether_they_take_one_line_or_more() {
        let file = "groups:\n  - name: g\n    rules:\n      # no rule\n      - record: a:b\n        expr: |\n          sum(x)\n            / sum(y)\n\
                    \n      - alert: A\n        expr: a:b{c=\"d\"} > 1\n        for: 1m\n        annotations:\n          summary: s\n";
        let found = rules(file);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].kind, found[0].name.as_str()), (Kind::Record, "a:b"));
        assert_eq!(found[0].expression, "sum(x)\n/ sum(y)");
        assert_eq!((found[1].kind, found[1].name.as_str()), (Kind::Alert, "A"));
        assert_eq!(found[1].expression, "a:b{c=\"d\"} > 1");
    }
}
