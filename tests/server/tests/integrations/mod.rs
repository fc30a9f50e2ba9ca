//! The recipes of docs/integrations.md, taken from the page itself and run against real servers.

mod drivers;
mod getting_started;
mod migrations;
mod operations;
mod pooler;
mod postgrest;
mod providers;
mod sign_up;

/// The first code block of `language` in the section of docs/integrations.md under `heading`.
///
/// # Panics
///
/// When the page has no such section or the section no such block.
fn block(heading: &str, language: &str) -> &'static str {
    let page = include_str!("../../../../docs/integrations.md");
    let section = sections(page).find(|(title, _)| *title == heading);
    let (_, text) = section.unwrap_or_else(|| panic!("no section \"{heading}\""));
    let (_, from) = text
        .split_once(&format!("\n```{language}\n"))
        .unwrap_or_else(|| panic!("no {language} block under \"{heading}\""));
    let (code, _) = from.split_once("\n```\n").expect("a code block has an end");
    code
}

/// Headings of the second and third level with the text up to the next one.
fn sections(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split("\n## ")
        .flat_map(|part| part.split("\n### "))
        .filter_map(|part| part.split_once('\n'))
}
