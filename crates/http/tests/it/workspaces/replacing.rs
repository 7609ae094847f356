//! Replacing in many files: looked at line by line, then saved file by file.

use serde_json::{Value, json};

use super::Yard;

fn file<'a>(told: &'a Value, path: &str) -> &'a Value {
    let files = told["files"].as_array().unwrap();
    files.iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("{path} is not in {told}"))
}

#[tokio::test]
async fn an_expression_is_looked_at_line_by_line_and_replaced_file_by_file() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("a.py", "def get_name(x):\r\n    return get_name\r\n").await;
    desk.save("lib/b.py", "get_size()\n").await;
    desk.save("c.txt", "get_name\n").await;
    desk.save("d.py", "nothing\n").await;
    let wanted =
        json!({"text": r"\bget_(?P<what>\w+)", "replacement": "$what_${what}_$1", "regex": true, "include": ["*.py"]});
    let told = desk.post("/files/replace/preview", wanted.clone()).await.expect(200);
    assert_eq!((&told["replaced"], &told["truncated"]), (&json!(3), &json!(false)), "{told}");
    assert_eq!(told["files"].as_array().unwrap().len(), 2, "{told}");
    let second = json!({"line": 2, "before": "    return get_name", "after": "    return $what_name_name"});
    assert_eq!((&file(&told, "a.py")["lines"][1], &file(&told, "a.py")["count"]), (&second, &json!(2)));
    assert_eq!(desk.get("/files/content?path=lib/b.py").await.text, "get_size()\n", "nothing is written");

    let chosen = |path: &str| json!({"path": path, "etag": file(&told, path)["etag"]});
    let mut some = wanted.clone();
    some["files"] = json!([chosen("a.py"), chosen("lib/b.py")]);
    desk.save("lib/b.py", "get_size() # and more\n").await;
    let done = desk.post("/files/replace", some).await.expect(200);
    assert_eq!(done["replaced"], 2, "{done}");
    assert!(file(&done, "lib/b.py")["error"].as_str().unwrap().contains("changed meanwhile"), "{done}");
    assert_eq!(desk.get("/files/content?path=lib/b.py").await.text, "get_size() # and more\n");
    let text = "def $what_name_name(x):\r\n    return $what_name_name\r\n";
    let now = desk.get("/files/content?path=a.py").await;
    assert_eq!(
        (now.text.as_str(), now.header("etag")),
        (text, format!("\"{}\"", file(&done, "a.py")["etag"].as_str().unwrap()).as_str())
    );
    let versions = desk.get("/files/history?path=a.py").await.expect(200)["versions"].clone();
    assert_eq!(versions.as_array().unwrap().len(), 1, "what was replaced is kept: {versions}");
    let rest = desk.post("/files/replace", wanted).await.expect(200);
    assert_eq!((&rest["replaced"], rest["files"].as_array().unwrap().len()), (&json!(1), 1), "{rest}");
}

#[tokio::test]
async fn case_and_words_count_as_they_do_in_a_search_and_what_cannot_be_is_said() {
    let yard = Yard::new().await;
    let desk = yard.at_work("alice").await;
    desk.save("a.txt", "Word word sword\n").await;
    desk.client.put(&desk.at("/files/content?path=bytes.txt"), b"word\xff\n".to_vec()).await.expect(201);
    let look = async |more: Value| {
        let mut wanted = json!({"text": "word", "replacement": "$1"});
        wanted.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        desk.post("/files/replace/preview", wanted).await
    };
    for (more, after) in [
        (json!({}), "$1 $1 s$1"),
        (json!({"case_sensitive": true}), "Word $1 s$1"),
        (json!({"whole_word": true}), "$1 $1 sword"),
        (json!({"whole_word": true, "case_sensitive": true}), "Word $1 sword"),
    ] {
        let told = look(more.clone()).await.expect(200);
        assert_eq!(told["files"].as_array().unwrap().len(), 1, "what is no text is left: {told}");
        assert_eq!(told["files"][0]["lines"][0]["after"], after, "{more}");
    }
    look(json!({"regex": true})).await.problem("invalid_arguments");
    look(json!({"regex": true, "text": "("})).await.problem("invalid_arguments");
    look(json!({"text": ""})).await.problem("bad_request");
    look(json!({"replacement": "x".repeat(5000)})).await.problem("invalid_arguments");
    look(json!({"apply": true})).await.problem("bad_request");
    let outside = look(json!({"files": [{"path": "gone.txt"}]})).await.expect(200);
    assert!(outside["files"][0]["error"].is_string(), "{outside}");
    assert_eq!(desk.get("/files/content?path=a.txt").await.text, "Word word sword\n");
}
