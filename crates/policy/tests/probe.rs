use reeve_policy::*;
#[test]
fn probe() {
    let n: usize = std::env::var("N").unwrap().parse().unwrap();
    let text = match std::env::var("K").unwrap().as_str() {
        "paren" => format!("permit (principal, action, resource) when {{ {}true{} }};", "(".repeat(n), ")".repeat(n)),
        "set" => format!("permit (principal, action, resource) when {{ {}true{} }};", "[".repeat(n), "]".repeat(n)),
        "if" => format!("permit (principal, action, resource) when {{ {}true }};", "if true then true else ".repeat(n)),
        "and" => format!("permit (principal, action, resource) when {{ {}true }};", "context.rows<1&&".repeat(n)),
        "plus" => format!("permit (principal, action, resource) when {{ {}1 > 0 }};", "1+".repeat(n)),
        "dot" => format!("permit (principal, action, resource) when {{ context{} }};", ".a".repeat(n)),
        _ => format!("permit (principal, action, resource) {};", "when { context.rows<1 } ".repeat(n)),
    };
    let r = PolicySet::compile(&[Source { name: "a".into(), text, format: Format::Cedar }], &|_| None);
    println!("{}", r.is_ok());
    if let Ok(s) = r { 
      let p = reeve_types::Principal::new(reeve_types::PrincipalKind::User, "a", reeve_types::AuthMethod::None);
      let res = reeve_types::Resource::new(reeve_types::ResourceKind::Host, "a");
      println!("{:?}", s.explain(&reeve_types::PolicyRequest{principal:&p,purpose:None,resource:&res,class:reeve_types::ActionClass::Read,tool:"",measured:Default::default(),at:jiff::Timestamp::UNIX_EPOCH}).errors);
    }
}
