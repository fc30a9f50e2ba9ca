
/// Whether the environment that the server was started in asks for the sabotage of this name.
#[must_use]
pub fn sabotaged(name: &str) -> bool {
    static ON: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("TENANT_GUARD_SABOTAGE").ok());
    ON.as_deref() == Some(name)
}
