//! The web page: served at the root and at its rooms, allowed nothing from elsewhere.

use crate::platform::TestPlatform;

#[tokio::test]
async fn the_page_is_served_at_the_root_and_at_every_room() {
    let t = TestPlatform::new();
    let browser = t.client(&[("accept", "text/html,*/*"), ("host", "localhost:8080"), ("accept-encoding", "gzip, br")]);
    for path in ["/", "/workspaces", "/workspaces/wsp_1/files", "/sign-in", "/index.html"] {
        let page = browser.get(path).await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        assert_eq!((page.header("cache-control"), page.header("x-frame-options")), ("no-store", "DENY"), "{path}");
        assert_eq!(page.header("vary"), "accept-encoding");
        let policy = page.header("content-security-policy");
        for part in [
            "default-src 'self'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "connect-src 'self' ws://localhost:8080 wss://localhost:8080",
            "frame-src 'self' http://*.preview.localhost:* https://*.preview.localhost:*",
            "frame-ancestors 'none'",
            "object-src 'none'",
        ] {
            assert!(policy.split("; ").any(|found| found == part), "{path}: {part} is not in {policy}");
        }
    }
    let program = t.client(&[]);
    program.get("/workspaces").await.problem("not_found");
    browser.get("/api/nothing").await.problem("not_found");
    browser.get("/ws/nothing").await.problem("not_found");
    browser.post("/workspaces", serde_json::json!({})).await.problem("not_found");
}

#[tokio::test]
async fn files_of_the_page_are_kept_for_ever_when_their_name_changes_with_them() {
    let t = TestPlatform::new();
    let browser = t.client(&[("accept-encoding", "br")]);
    assert!(reeve_web::is_built(), "the page is part of the program");
    let (mut for_ever, mut asked_again) = (0, 0);
    for path in reeve_web::paths().filter(|path| *path != "index.html") {
        let file = browser.get(&format!("/{path}")).await;
        assert_eq!(file.status.as_u16(), 200, "{path}");
        match file.header("cache-control") {
            "public, max-age=31536000, immutable" => for_ever += 1,
            "no-cache" => asked_again += 1,
            other => panic!("{path}: {other}"),
        }
        let again = browser.and("if-none-match", file.header("etag")).get(&format!("/{path}")).await;
        assert_eq!((again.status.as_u16(), again.bytes.len()), (304, 0), "{path}");
    }
    assert!(for_ever > 0 && asked_again > 0, "{for_ever} {asked_again}");
}
