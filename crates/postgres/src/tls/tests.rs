//! Names of certificates. The rest is tested against a real server, in `connect`.

use super::verify::name_fits;

#[test]
fn wildcards_stand_for_one_label_of_a_name() {
    for (pattern, name, fits) in [
        ("db.example.com", "DB.example.com", true),
        ("*.example.com", "db.example.com", true),
        ("*.example.com", "a.db.example.com", false),
        ("*.example.com", "example.com", false),
        ("*.example.com", ".example.com", false),
        ("*.com", "example.com", false),
        ("*", "localhost", false),
        ("*.0.0.1", "127.0.0.1", false),
        ("127.0.0.1", "127.0.0.1", true),
    ] {
        assert_eq!(name_fits(pattern, name), fits, "{pattern} {name}");
    }
}
