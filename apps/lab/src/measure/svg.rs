//! Writing SVG: shapes and text at places, nothing that a browser could disagree about.

use std::fmt::{Display, Write as _};

/// A picture being drawn. Coordinates are in pixels from the upper left corner.
#[derive(Debug)]
pub(crate) struct Picture {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text stands relative to its place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Font {
    pub(crate) size: f64,
    pub(crate) color: &'static str,
    pub(crate) bold: bool,
    pub(crate) anchor: Anchor,
}

impl Font {
    pub(crate) fn new(size: f64, color: &'static str) -> Self {
        Self { size, color, bold: false, anchor: Anchor::Start }
    }

    pub(crate) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(crate) fn middle(self) -> Self {
        Self { anchor: Anchor::Middle, ..self }
    }

    pub(crate) fn end(self) -> Self {
        Self { anchor: Anchor::End, ..self }
    }
}

impl Picture {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// A filled rectangle with round corners.
    pub(crate) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str, radius: f64) {
        // A width that rounding made negative is no rectangle, and not valid SVG.
        let (width, height) = (width.max(0.0), height.max(0.0));
        self.put(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="{radius}" fill="{}"/>"#,
            Escaped(fill)
        ));
    }

    pub(crate) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), color: &str, width: f64) {
        self.put(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{}" stroke-width="{width}"/>"#,
            Escaped(color)
        ));
    }

    pub(crate) fn circle(&mut self, (x, y): (f64, f64), radius: f64, fill: &str) {
        self.put(format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius:.1}" fill="{}"/>"#, Escaped(fill)));
    }

    /// A line through all points.
    pub(crate) fn path(&mut self, points: &[(f64, f64)], color: &str, width: f64) {
        let mut joined = String::new();
        for (x, y) in points {
            let _ = write!(joined, "{x:.1},{y:.1} ");
        }
        self.put(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{}" stroke-width="{width}" stroke-linejoin="round"/>"#,
            joined.trim_end(),
            Escaped(color)
        ));
    }

    /// A filled shape that lets through what lies below it: 0 all of it, 1 nothing.
    pub(crate) fn area(&mut self, points: &[(f64, f64)], fill: &str, opacity: f64) {
        let mut joined = String::new();
        for (x, y) in points {
            let _ = write!(joined, "{x:.1},{y:.1} ");
        }
        self.put(format_args!(
            r#"<polygon points="{}" fill="{}" fill-opacity="{opacity}"/>"#,
            joined.trim_end(),
            Escaped(fill)
        ));
    }

    pub(crate) fn text(&mut self, (x, y): (f64, f64), font: Font, text: impl Display) {
        let anchor = match font.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if font.bold { r#" font-weight="600""# } else { "" };
        self.put(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{}" fill="{}" text-anchor="{anchor}"{weight}>{}</text>"#,
            font.size,
            Escaped(font.color),
            Escaped(text)
        ));
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{element}");
    }

    /// The whole document. `title` and `description` are what a screen reader says.
    pub(crate) fn finish(self, title: &str, description: &str) -> String {
        let Self { width, height, body } = self;
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" font-family="Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif">
<title>{}</title>
<desc>{}</desc>
{body}</svg>
"#,
            Escaped(title),
            Escaped(description)
        )
    }
}

/// Text that cannot end the attribute or element it stands in.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.to_string().chars() {
            match character {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                // Not allowed in XML, not even escaped.
                control if control.is_control() && !matches!(control, '\t' | '\n' | '\r') => {}
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

/// Where a value lies between two ends on a logarithmic axis, as a share of its length, within 0 and 1.
pub(crate) fn log_share(value: f64, from: f64, to: f64) -> f64 {
    if value <= from {
        return 0.0;
    }
    ((value / from).ln() / (to / from).ln()).min(1.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Font, Picture, log_share};

    /// Panics unless every element of the text is closed by its own name, every attribute is quoted and no
    /// text has a bare `<` or `&`.
    pub(crate) fn assert_well_formed(text: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('<') {
            assert_references(&rest[..at]);
            let end = rest[at..].find('>').map(|end| at + end).unwrap_or_else(|| panic!("never closed: {rest:.60}"));
            let tag = &rest[at + 1..end];
            assert!(!tag.contains('<'), "a bare < in {tag}");
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "closes something else");
                continue;
            }
            let (name, attributes) = tag.trim_end_matches('/').split_once(' ').unwrap_or((tag, ""));
            assert_eq!(attributes.matches('"').count() % 2, 0, "quotes of {tag}");
            for (n, piece) in attributes.split('"').enumerate() {
                if n % 2 == 0 && !piece.trim().is_empty() {
                    assert!(piece.ends_with('=') && (n == 0 || piece.starts_with(' ')), "attribute of {tag}");
                }
                if n % 2 == 1 {
                    assert!(!piece.contains("NaN") && !piece.contains("inf"), "a number in {tag}");
                    assert_references(piece);
                }
            }
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "left open: {open:?}");
        assert_references(rest);
    }

    fn assert_references(text: &str) {
        for after in text.split('&').skip(1) {
            let known = ["lt;", "gt;", "amp;", "quot;"].iter().any(|name| after.starts_with(name));
            assert!(known, "a bare & before {after:.20}");
        }
    }

    #[test]
    fn what_stands_in_a_picture_cannot_break_it() {
        let mut picture = Picture::new(100.0, 50.0);
        picture.rect((0.0, 0.0), (-3.0, 10.0), "#fff", 2.0);
        picture.line((0.0, 0.0), (1.0, 1.0), "\"/><script>", 1.0);
        picture.path(&[(0.0, 1.0), (2.0, 3.0)], "#000", 1.0);
        picture.circle((1.0, 1.0), 2.0, "#000");
        picture.text((5.0, 5.0), Font::new(12.0, "#000").bold().middle(), "a < b && \"c\" \u{1} µs");
        let text = picture.finish("hits & misses", "<none>");
        assert_well_formed(&text);
        assert!(!text.contains("<script>") && !text.contains('\u{1}'), "{text}");
        assert!(text.contains("a &lt; b &amp;&amp; &quot;c&quot;  µs"), "{text}");
        assert!(text.contains(r#"width="0.0""#), "{text}");
    }

    #[test]
    #[should_panic(expected = "closes something else")]
    fn the_check_itself_can_fail() {
        assert_well_formed("<svg><g></svg></g>");
    }

    #[test]
    fn a_log_axis_is_even_in_factors() {
        assert!((log_share(10.0, 1.0, 100.0) - 0.5).abs() < 1e-9);
        assert_eq!((log_share(0.5, 1.0, 100.0), log_share(1e9, 1.0, 100.0)), (0.0, 1.0));
    }
}
