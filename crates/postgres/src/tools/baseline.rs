//! A baseline of one server, kept so that it can be compared with later.

use reeve_types::ToolOutput;
use serde_json::json;

use super::databases::disk_usage_parts;
use super::define::Definition;
use super::job::Job;
use super::reads::show;
use super::render::banner;
use super::server::server_info_part;
use super::settings::{by_category, changed_settings, extensions_part};
use super::trouble::Trouble;

pub(super) fn tools() -> Vec<Definition> {
    vec![
        Definition::read(
            "get_baseline",
            "Server information, changed settings, extensions and disk usage in one answer, which is kept for later comparison (get_saved_snapshots).",
            |job| Box::pin(baseline(job)),
        )
        .capabilities(&["config", "disk", "extensions", "server"])
        .supersedes(&["get_server_info", "get_pg_settings", "get_extensions", "get_disk_usage"])
        .fleet(),
    ]
}

async fn baseline(job: &Job<'_>) -> Result<ToolOutput, Trouble> {
    let session = job.look().await?;
    let server = show(&session, &[server_info_part()]).await?;
    let settings = changed_settings(&session, None, false).await?;
    let extensions = show(&session, &[extensions_part()]).await?;
    let disk = show(&session, &disk_usage_parts(10)).await?;
    drop(session);

    let sections = [
        ("SERVER INFO", &server.output),
        ("SETTINGS", &by_category(&settings)),
        ("EXTENSIONS", &extensions.output),
        ("DISK USAGE", &disk.output),
    ];
    let text: Vec<String> = sections.iter().map(|(title, body)| format!("{}{body}", banner(title))).collect();
    let data = json!({
        "server": server.data,
        "settings": settings.data(),
        "extensions": extensions.data,
        "disk_usage": disk.data,
    });
    let mut output = ToolOutput::with_data(text.join("\n"), data);
    match job.kit.archive.save(&job.call, &output).await {
        Ok(id) => output.output.push_str(&format!("\nKept as {id}.\n")),
        Err(why) => output.output.push_str(&format!("\nNot kept for later comparison: {why}\n")),
    }
    Ok(output)
}
