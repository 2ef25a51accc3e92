//! What sessions say of themselves, and of pushes that they refused.

use super::*;
use crate::protocol::StatusAnswer;

fn status(daemon: &mut Daemon, name: &str) -> StatusAnswer {
    let request = CommandRequest::Status { repository: name.to_owned() };
    match daemon.ask(&SessionRequest::Command(request)).unwrap() {
        SessionReply::Command(CommandReply::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_session_refused_a_push_is_kept_where_its_account_may_push() {
    let fleet = Fleet::new().await;
    for name in ["a", "b"] {
        fleet.create(name).await.unwrap();
    }
    let rules = |write: &str| {
        format!(
            "[[rule]]\nrepositories = [\"a\"]\nread = [\"*\"]\nwrite = [\"accounts\"]\n\n\
             [[rule]]\nrepositories = [\"b\"]\nread = [\"*\"]\nwrite = [{write}]\n"
        )
    };
    let path = fleet.folder.path().join("access.toml");
    fs::write(&path, rules("")).unwrap();
    let fleet = fleet.restart().await;
    let say = |daemon: &mut Daemon, name: &str| {
        let text = format!("refused: \x1b[31mred, on {name}. Mend it");
        daemon.tell(&SessionRequest::PushRefused { repository: name.to_owned(), text }).unwrap();
    };
    fleet
        .with(move |run| {
            let mut daemon = session(&run);
            for name in ["a", "b", "nowhere", "../x"] {
                say(&mut daemon, name);
            }
            let refused = status(&mut daemon, "a").refused.unwrap();
            assert_eq!((refused.who.as_str(), refused.text.as_str()), (USER, "refused: \\u{1b}[31mred, on a. Mend it"));
            // Who may push later finds nothing of what others said before.
            fs::write(&path, rules("\"accounts\"")).unwrap();
            let mut looks = (0..100).map(|_| {
                std::thread::sleep(Duration::from_millis(20));
                lock(&mut session(&run), "b").is_ok()
            });
            assert!(looks.any(|may_push| may_push));
            assert!(status(&mut daemon, "b").refused.is_none_or(|refused| !refused.text.contains("red,")));
            say(&mut daemon, "b");
            assert!(status(&mut daemon, "b").refused.unwrap().text.contains("red,"));
        })
        .await;
}
