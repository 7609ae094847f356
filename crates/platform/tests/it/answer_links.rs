//! Links that answer one question: they do what their person may do, at that moment, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use reeve_platform::PlatformError;
use reeve_platform::accounts::{Change, NewAccount, Subject};
use reeve_platform::answer_links::{AnswerLinks, page_of};
use reeve_store::{EventFilter, StoredAccount};
use reeve_types::secret::SecretString;
use reeve_types::{Approval, ApprovalStatus, EventType, TenantId, VoteChoice};
use serde_json::json;

use crate::support::{House, Plan, asks, user};

async fn bob(house: &House) -> StoredAccount {
    let new = NewAccount {
        email: "bob@example.com".to_owned(),
        name: Some("Bob".to_owned()),
        password: None,
        roles: BTreeSet::from(["dba".to_owned()]),
    };
    let accounts = house.platform.identity().accounts();
    accounts.create(Some(&user("admin", &["admin"])), &TenantId::default_tenant(), new).await.unwrap()
}

async fn links(house: &House, who: &StoredAccount, asked: &Approval) -> Result<AnswerLinks, PlatformError> {
    let subject = Subject::Account(who.account_id.clone());
    house.platform.answer_links(&subject, &TenantId::default_tenant(), &asked.approval_id).await
}

async fn change(house: &House, change: Change) {
    let accounts = house.platform.identity().accounts();
    let admin = user("admin", &["admin"]);
    accounts.change(&admin, &TenantId::default_tenant(), "bob@example.com", change).await.unwrap();
}

fn does_not_work(refused: &PlatformError) -> bool {
    matches!(refused, PlatformError::DeadLink)
}

#[tokio::test]
async fn looking_at_a_link_does_nothing_and_following_it_answers_once_as_its_person() {
    let house = House::new(Plan::default()).await;
    let bob = bob(&house).await;
    let asked = house.question(&user("alice", &["dba"]), json!({"pid": 7})).await;
    let links = links(&house, &bob, &asked).await.unwrap();

    for _ in 0..3 {
        let would = house.platform.look_at_link(&links.approve).await.unwrap();
        assert_eq!((would.choice, would.person.name.as_str()), (VoteChoice::Approve, "Bob"));
        assert_eq!(would.approval.status, ApprovalStatus::Pending);
    }
    assert_eq!(house.tool.runs(), 0);

    let settled = house.platform.answer_by_link(&links.approve, "from my phone").await.unwrap();
    assert_eq!(settled.status, ApprovalStatus::Approved);
    assert_eq!(
        (settled.votes[0].by.as_str(), settled.votes[0].reason.as_str()),
        ("user:bob@example.com", "from my phone")
    );
    for link in [&links.approve, &links.deny] {
        let again = house.platform.answer_by_link(link, "").await.unwrap_err();
        assert!(again.to_string().ends_with("can no longer be answered"), "{again}");
    }
}

#[tokio::test]
async fn the_other_link_denies() {
    let house = House::new(Plan::default()).await;
    let bob = bob(&house).await;
    let asked = house.question(&user("alice", &["dba"]), json!({})).await;
    let links = links(&house, &bob, &asked).await.unwrap();
    let settled = house.platform.answer_by_link(&links.deny, "not by day").await.unwrap();
    assert_eq!((settled.status, settled.resolution_reason.as_str()), (ApprovalStatus::Denied, "not by day"));
    assert_eq!(house.tool.runs(), 0);
}

#[tokio::test]
async fn with_a_quorum_one_link_counts_once() {
    let house = House::new(Plan { policy: asks("approval_quorum: 2"), ..Plan::default() }).await;
    let bob = bob(&house).await;
    let asked = house.question(&user("alice", &["dba"]), json!({})).await;
    let links = links(&house, &bob, &asked).await.unwrap();
    house.platform.answer_by_link(&links.approve, "").await.unwrap();
    let again = house.platform.answer_by_link(&links.approve, "").await.unwrap_err();
    assert!(again.to_string().contains("has already answered"), "{again}");
    let settled = house.platform.approve(&user("carol", &["dba"]), &asked.approval_id, "", None).await.unwrap();
    assert_eq!(settled.status, ApprovalStatus::Approved);
}

#[tokio::test]
async fn what_is_taken_away_from_the_person_is_taken_from_the_link() {
    let house = House::new(Plan::default()).await;
    let bob = bob(&house).await;
    let asked = house.question(&user("alice", &["dba"]), json!({})).await;
    let links = links(&house, &bob, &asked).await.unwrap();

    change(&house, Change { roles: Some(BTreeSet::from(["developer".to_owned()])), ..Change::default() }).await;
    let refused = house.platform.answer_by_link(&links.approve, "").await.unwrap_err();
    assert!(matches!(refused, PlatformError::NotAnApprover { .. }), "{refused:?}");

    change(&house, Change { disabled: Some(true), ..Change::default() }).await;
    let refused = house.platform.look_at_link(&links.approve).await.unwrap_err();
    assert!(does_not_work(&refused), "{refused}");
    assert_eq!(house.tool.runs(), 0);
}

#[tokio::test]
async fn links_are_made_only_for_those_who_may_answer_and_each_making_is_recorded() {
    let house = House::new(Plan::default()).await;
    let bob = bob(&house).await;
    let own = house.question(&user("bob@example.com", &["dba"]), json!({})).await;
    let refused = links(&house, &bob, &own).await.unwrap_err();
    assert!(matches!(refused, PlatformError::OwnRequest { .. }), "{refused:?}");

    let asked = house.question(&user("alice", &["dba"]), json!({"pid": 2})).await;
    links(&house, &bob, &asked).await.unwrap();
    let filter = EventFilter { types: vec![EventType::IdentityChanged], limit: 50, ..EventFilter::default() };
    let page = house.platform.store().events(&TenantId::default_tenant(), filter).await.unwrap();
    let made = format!("links to answer {} were made for user:bob@example.com", asked.approval_id);
    assert!(page.events.iter().any(|record| record.event.note.starts_with(&made)), "{made}");

    change(&house, Change { roles: Some(BTreeSet::from(["developer".to_owned()])), ..Change::default() }).await;
    let refused = links(&house, &bob, &asked).await.unwrap_err();
    assert!(matches!(refused, PlatformError::NotAnApprover { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_forged_broken_old_or_foreign_token_opens_nothing() {
    let house = House::new(Plan::default()).await;
    let bob = bob(&house).await;
    let asked = house.question(&user("alice", &["dba"]), json!({})).await;
    let links = links(&house, &bob, &asked).await.unwrap();
    let address = page_of("https://reeve.example/", &links.approve);
    let token = address.strip_prefix("https://reeve.example/#/answer/").unwrap().to_owned();

    let mut forged: Vec<String> = (0..token.len())
        .step_by(7)
        .map(|at| {
            let mut text = token.clone().into_bytes();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            String::from_utf8(text).unwrap()
        })
        .filter(|text| *text != token)
        .collect();
    forged.extend(["", "x", "a.b.c", "🎈"].map(str::to_owned));
    forged.push(token.repeat(40));
    // The answer of one link with the signature of the other.
    let (said, _) = token.rsplit_once('.').unwrap();
    let other = page_of("", &links.deny);
    forged.push(format!("{said}.{}", other.rsplit_once('.').unwrap().1));
    for text in forged {
        let refused = house.platform.look_at_link(&SecretString::from(text.clone())).await.unwrap_err();
        assert!(does_not_work(&refused), "{text}: {refused}");
    }

    // An access token is signed with the same secret and is no link; nor is a link a way in.
    let identity = house.platform.identity();
    assert!(identity.identify(Some(&token), None).await.is_err());

    house.clock.forward(Duration::from_secs(25 * 3600));
    let refused = house.platform.look_at_link(&links.approve).await.unwrap_err();
    assert!(does_not_work(&refused), "{refused}");
}
