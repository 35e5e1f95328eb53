//! A document of headings, texts, tables and plots, written as Markdown or HTML.

use std::fmt::Write as _;

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A heading of level 1 to 4.
    Heading(u8, String),
    /// A paragraph.
    Text(String),
    /// A list.
    List(Vec<String>),
    /// A table: its head, then its rows.
    Table(Vec<String>, Vec<Vec<String>>),
    /// A drawing: what it shows, and the SVG.
    Plot(String, String),
}

/// A document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document(Vec<Block>);

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse;font-size:.85rem;margin:1rem 0}td,th{border:1px solid #ccc;padding:.2rem .5rem;\
text-align:right}td:first-child,th:first-child{text-align:left}th{background:#f3f3f3}div.wide{overflow-x:auto}\
svg{max-width:100%;height:auto}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

impl Document {
    /// Adds a block.
    pub fn push(&mut self, block: Block) {
        self.0.push(block);
    }

    /// Adds blocks.
    pub fn extend(&mut self, blocks: impl IntoIterator<Item = Block>) {
        self.0.extend(blocks);
    }

    /// File name and SVG of each plot, in order.
    #[must_use]
    pub fn plots(&self) -> Vec<(String, &str)> {
        let svgs = self.0.iter().filter_map(|b| {
            if let Block::Plot(_, svg) = b {
                Some(svg.as_str())
            } else {
                None
            }
        });
        svgs.enumerate()
            .map(|(n, svg)| (format!("plot-{}.svg", n + 1), svg))
            .collect()
    }

    /// As Markdown; plots are files beside it.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let mut plot = 0;
        for block in &self.0 {
            // Writing into a string cannot fail.
            _ = match block {
                Block::Heading(level, heading) => {
                    writeln!(text, "{} {heading}\n", "#".repeat(usize::from(*level)))
                }
                Block::Text(paragraph) => writeln!(text, "{paragraph}\n"),
                Block::List(items) => items
                    .iter()
                    .try_for_each(|item| writeln!(text, "- {item}"))
                    .and_then(|()| writeln!(text)),
                Block::Table(head, rows) => {
                    _ = writeln!(
                        text,
                        "| {} |\n|{}",
                        head.join(" | "),
                        "---|".repeat(head.len())
                    );
                    rows.iter()
                        .try_for_each(|row| writeln!(text, "| {} |", row.join(" | ")))
                        .and_then(|()| writeln!(text))
                }
                Block::Plot(title, _) => {
                    plot += 1;
                    writeln!(text, "![{title}](plot-{plot}.svg)\n")
                }
            };
        }
        text
    }

    /// As one HTML page that needs nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        let mut text = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>Load lab report</title><style>{STYLE}</style></head><body>\n"
        );
        for block in &self.0 {
            _ = match block {
                Block::Heading(level, heading) => {
                    writeln!(text, "<h{level}>{}</h{level}>", escape(heading))
                }
                Block::Text(paragraph) => writeln!(text, "<p>{}</p>", escape(paragraph)),
                Block::List(items) => {
                    let items: String = items
                        .iter()
                        .map(|i| format!("<li>{}</li>", escape(i)))
                        .collect();
                    writeln!(text, "<ul>{items}</ul>")
                }
                Block::Table(head, rows) => {
                    let row = |cells: &[String], tag: &str| -> String {
                        let cells: String = cells
                            .iter()
                            .map(|c| format!("<{tag}>{}</{tag}>", escape(c)))
                            .collect();
                        format!("<tr>{cells}</tr>\n")
                    };
                    let rows: String = rows.iter().map(|r| row(r, "td")).collect();
                    writeln!(
                        text,
                        "<div class=\"wide\"><table>\n{}{rows}</table></div>",
                        row(head, "th")
                    )
                }
                Block::Plot(title, svg) => {
                    writeln!(
                        text,
                        "<figure aria-label=\"{}\">{svg}</figure>",
                        escape(title).replace('"', "&quot;")
                    )
                }
            };
        }
        text + "</body></html>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_the_same_in_both_forms() {
        let mut document = Document::default();
        document.extend([
            Block::Heading(2, "A < B".to_owned()),
            Block::Table(
                vec!["x".to_owned(), "y".to_owned()],
                vec![vec!["1".to_owned(), "2".to_owned()]],
            ),
            Block::Plot("p".to_owned(), "<svg/>".to_owned()),
        ]);
        let markdown = document.markdown();
        assert!(
            markdown.contains("## A < B") && markdown.contains("| x | y |\n|---|---|\n| 1 | 2 |"),
            "{markdown}"
        );
        assert!(markdown.contains("plot-1.svg"));
        let html = document.html();
        assert!(
            html.contains("<h2>A &lt; B</h2>")
                && html.contains("<td>2</td>")
                && html.contains("<svg/>")
        );
    }
}
