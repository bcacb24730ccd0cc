//! Properties of the set of rules, against an oracle of a few lines.

use hessra_revocation::{
    Cutoff, Digest, FeedSalt, HashedQuery, Identity, Query, Revision, RevocationSet, Rule,
    RuleKind, Target, UnixSeconds,
};
use proptest::prelude::*;

use crate::authority::SALT;
use crate::words::token_id;

/// A rule as people made it.
#[derive(Clone, Debug)]
struct Made {
    target: Target,
    cutoff: Cutoff,
    until: Option<UnixSeconds>,
}

/// Token as it is shown to the rules.
#[derive(Clone, Debug)]
struct Shown {
    actor: Identity,
    subject: Identity,
    token: u8,
    root_key: u32,
    certificate: [u8; 32],
    rev: Option<Revision>,
    now: u64,
    skew: u64,
}

/// The definition, without digests, trees or depths.
fn oracle(rules: &[Made], shown: &Shown) -> bool {
    let below = |name: &Identity, rule: &Identity| {
        let name: Vec<_> = name.path().split(':').collect();
        name.starts_with(&rule.path().split(':').collect::<Vec<_>>())
    };
    let matches = |target: &Target| match target {
        Target::Token(id) => *id == token_id(&shown.token.to_string()),
        Target::Subtree(rule) | Target::Lock(rule) => {
            below(&shown.actor, rule) || below(&shown.subject, rule)
        }
        Target::Exact(name) => name.path() == shown.actor.path(),
        Target::Key(id) => *id == shown.root_key,
        Target::Signer(_) => false,
        Target::Certificate(print) => *print == shown.certificate,
    };
    let stands = |rule: &Made| match (&rule.target, rule.until, rule.cutoff) {
        (Target::Lock(_), until, _) => until.is_none_or(|until| shown.now < until.0 + shown.skew),
        (_, _, Cutoff::Permanent) => true,
        (_, _, Cutoff::Before(cutoff)) => shown.rev.is_none_or(|rev| rev < cutoff),
    };
    rules
        .iter()
        .any(|rule| matches(&rule.target) && stands(rule))
}

fn name() -> impl Strategy<Value = Identity> {
    // Few words, so that names meet; one is a prefix of another as text.
    let segment = prop::sample::select(vec!["a", "b", "ab", "A", "uri"]);
    prop::collection::vec(segment, 1..6)
        .prop_map(|segments| Identity::parse(&segments.join(":")).unwrap())
}

fn made() -> impl Strategy<Value = Made> {
    let target = prop_oneof![
        (0..6u8).prop_map(|token| Target::Token(token_id(&token.to_string()))),
        name().prop_map(Target::Subtree),
        name().prop_map(Target::Exact),
        (0..4u32).prop_map(Target::Key),
        (0..4u8).prop_map(|byte| Target::Certificate([byte; 32])),
        name().prop_map(Target::Lock),
    ];
    let cutoff = prop_oneof![
        Just(Cutoff::Permanent),
        (1..20u64).prop_map(|cutoff| Cutoff::Before(Revision(cutoff)))
    ];
    let until = prop::option::of((1..20u64).prop_map(UnixSeconds));
    (target, cutoff, until).prop_map(|(target, cutoff, until)| Made {
        target,
        cutoff,
        until,
    })
}

fn shown() -> impl Strategy<Value = Shown> {
    let rev = prop::option::of((0..22u64).prop_map(Revision));
    (
        name(),
        name(),
        0..8u8,
        0..6u32,
        0..6u8,
        rev,
        0..25u64,
        0..4u64,
    )
        .prop_map(
            |(actor, subject, token, root_key, print, rev, now, skew)| Shown {
                actor,
                subject,
                token,
                root_key,
                certificate: [print; 32],
                rev,
                now,
                skew,
            },
        )
}

fn denies(set: &RevocationSet, shown: &Shown) -> bool {
    let query = Query {
        identities: &[shown.actor.clone(), shown.subject.clone()],
        actor: Some(&shown.actor),
        token_ids: &[token_id(&shown.token.to_string())],
        root_key: Some(shown.root_key),
        third_party_keys: &[],
        certificate: Some(shown.certificate),
        rev: shown.rev,
        now: UnixSeconds(shown.now),
        skew_seconds: shown.skew,
    };
    let denial = set.check(&query);
    let hashed = HashedQuery::new(set.salt(), &query);
    assert_eq!(set.check_hashed(&hashed, &query), denial, "{query:?}");
    let elsewhere = HashedQuery::new(&FeedSalt([0xEE; 16]), &query);
    assert_eq!(set.check_hashed(&elsewhere, &query), denial, "{query:?}");
    denial.is_some()
}

fn rule(made: &Made) -> Rule {
    Rule::new(&SALT, &made.target, made.cutoff, made.until)
}

/// One rule per target: the set keeps the last, and so must the oracle.
fn latest(rules: &[Made]) -> Vec<Made> {
    let key = |made: &Made| (made.target.kind(), made.target.digest(&SALT));
    let replaced = |at: usize| {
        rules[at + 1..]
            .iter()
            .any(|later| key(later) == key(&rules[at]))
    };
    (0..rules.len())
        .filter(|at| !replaced(*at))
        .map(|at| rules[at].clone())
        .collect()
}

fn set_of(rules: &[Made]) -> RevocationSet {
    let mut set = RevocationSet::new(SALT);
    rules.iter().for_each(|made| set.put(rule(made)));
    set
}

proptest! {
    #[test]
    fn a_check_denies_exactly_what_the_definition_says(
        rules in prop::collection::vec(made(), 0..12), shown in prop::collection::vec(shown(), 1..12),
    ) {
        let set = set_of(&rules);
        let rules = latest(&rules);
        prop_assert_eq!(set.len(), rules.len());
        for shown in shown {
            prop_assert_eq!(denies(&set, &shown), oracle(&rules, &shown), "{:?}", shown);
        }
    }

    #[test]
    fn the_root_depends_on_the_content_alone(
        rules in prop::collection::vec(made(), 0..40), order in any::<u64>(), others in prop::collection::vec(made(), 0..20),
    ) {
        let rules = latest(&rules);
        let set = set_of(&rules);
        let mut shuffled = rules.clone();
        shuffled.sort_by_key(|made| rule(made).digest.0.map(|byte| u64::from(byte).wrapping_mul(order | 1)));
        let mut detour = set_of(&others);
        let _ = detour.root();
        for made in &others {
            detour.remove(made.target.kind(), &made.target.digest(&SALT));
        }
        prop_assert!(detour.is_empty());
        prop_assert_eq!(detour.root(), RevocationSet::new(SALT).root());
        // Roots asked for in between must not be remembered for too long.
        for made in &shuffled {
            detour.put(rule(made));
            let _ = detour.root();
        }
        prop_assert_eq!(detour.root(), set.root());
        prop_assert_eq!(detour.bucket_roots(), set.bucket_roots());
        prop_assert!(detour.iter().eq(set.iter()));
        for shown in [&rules[..], &others[..]].concat().iter().filter_map(|made| match &made.target {
            Target::Subtree(name) | Target::Lock(name) => Some(name.clone()), _ => None,
        }) {
            let query = Query { identities: &[shown], ..Query::default() };
            prop_assert_eq!(detour.check(&query).is_some(), set.check(&query).is_some());
        }
    }

    #[test]
    fn a_clone_is_not_changed_by_its_original(rules in prop::collection::vec(made(), 1..30)) {
        let before = set_of(&rules[..rules.len() / 2]);
        let (root, bytes): (_, Vec<_>) = (before.root(), before.iter().collect());
        let mut after = before.clone();
        rules.iter().for_each(|made| after.put(rule(made)));
        rules.iter().for_each(|made| { after.remove(made.target.kind(), &made.target.digest(&SALT)); });
        prop_assert_eq!(before.root(), root);
        prop_assert_eq!(before.iter().collect::<Vec<_>>(), bytes);
        prop_assert!(after.is_empty());
    }

    #[test]
    fn another_holder_is_made_equal_by_the_buckets_that_differ(
        ours in prop::collection::vec(made(), 0..40), theirs in prop::collection::vec(made(), 0..40),
    ) {
        let (ours, mut theirs) = (set_of(&ours), set_of(&theirs));
        let differ: Vec<u8> = (0..=u8::MAX)
            .filter(|number| ours.bucket_roots()[usize::from(*number)] != theirs.bucket_roots()[usize::from(*number)])
            .collect();
        let rules: Vec<u8> = differ.iter().flat_map(|number| ours.bucket(*number)).collect();
        // Remembered hashes must not outlive what they were made of, not even when a bucket becomes empty.
        let _ = theirs.root();
        theirs.replace_buckets(&differ, &rules).unwrap();
        prop_assert_eq!(ours.root(), theirs.root());
        prop_assert_eq!(ours.len(), theirs.len());
        prop_assert!(ours.iter().eq(theirs.iter()));
    }

    #[test]
    fn a_rule_that_can_be_read_is_written_the_same(bytes in prop::collection::vec(any::<u8>(), 0..40), made in made()) {
        prop_assert_eq!(Rule::from_bytes(&rule(&made).to_bytes()), Ok(rule(&made)));
        if let Ok(rule) = Rule::from_bytes(&bytes) {
            prop_assert_eq!(rule.to_bytes(), bytes);
        }
    }

    #[test]
    fn an_identity_is_below_another_by_whole_segments(one in name(), other in name()) {
        let path = |name: &Identity| name.path().split(':').map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(one.is_at_or_below(&other), path(&one).starts_with(&path(&other)));
        let ancestors: Vec<_> = one.ancestors_and_self().collect();
        prop_assert_eq!(ancestors.len(), usize::from(one.depth()));
        prop_assert_eq!(ancestors.last(), Some(&(one.depth(), one.path())));
        prop_assert_eq!(one.parent().map_or(0, |parent| parent.depth()) + 1, one.depth());
    }
}

#[test]
fn buckets_are_refused_when_they_are_not_canonical() {
    let mut set = RevocationSet::new(SALT);
    for token in 0..50u8 {
        set.put(Rule::new(
            &SALT,
            &Target::Token(token_id(&token.to_string())),
            Cutoff::Permanent,
            None,
        ));
    }
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let rules: Vec<u8> = all.iter().flat_map(|number| set.bucket(*number)).collect();
    let read =
        |numbers: &[u8], rules: &[u8]| RevocationSet::new(SALT).replace_buckets(numbers, rules);
    assert_eq!(read(&all, &rules), Ok(()));
    assert!(read(&[1, 0], &[]).is_err(), "descending buckets");
    assert!(read(&[1, 1], &[]).is_err(), "a bucket twice");
    assert!(read(&all, &rules[..rules.len() - 1]).is_err(), "cut off");
    assert!(
        read(&all, &[&rules[..], &rules[..18]].concat()).is_err(),
        "a rule twice"
    );
    assert!(read(&all[..1], &rules).is_err(), "rules of other buckets");
}

/// Rules that share a leaf of the tree are rare among random ones: here all of them do.
#[test]
fn a_leaf_forgets_its_hash_when_a_rule_goes() {
    let in_one_leaf = |number: u8| Rule {
        kind: RuleKind::Token,
        digest: Digest([7, 7, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        depth: 0,
        cutoff: Cutoff::Permanent,
        until: None,
    };
    let mut set = RevocationSet::new(SALT);
    let mut roots = vec![set.root()];
    for number in 0..20 {
        set.put(in_one_leaf(number));
        roots.push(set.root());
    }
    for number in (0..20).rev() {
        roots.pop();
        set.remove(RuleKind::Token, &in_one_leaf(number).digest);
        assert_eq!(Some(&set.root()), roots.last());
    }
}

/// RFC 6962 over 65,536 leaves, computed the slow way.
#[test]
fn the_root_is_the_merkle_tree_hash_over_all_prefixes() {
    use hessra_revocation::merkle::Frontier;
    let mut set = RevocationSet::new(SALT);
    for token in 0..300u32 {
        set.put(Rule::new(
            &SALT,
            &Target::Token(token_id(&token.to_string())),
            Cutoff::Permanent,
            None,
        ));
    }
    let mut leaves = vec![Vec::new(); 65_536];
    for rule in set.iter() {
        leaves[usize::from(u16::from_be_bytes([rule.digest.0[0], rule.digest.0[1]]))]
            .extend(rule.to_bytes());
    }
    let mut tree = Frontier::default();
    leaves.iter().for_each(|leaf| tree.append(leaf));
    assert_eq!(set.root(), tree.root());
    let mut buckets = Frontier::default();
    leaves[..256].iter().for_each(|leaf| buckets.append(leaf));
    assert_eq!(set.bucket_roots()[0], buckets.root());
    assert_eq!(
        set.rule(RuleKind::Token, &set.iter().next().unwrap().digest),
        set.iter().next()
    );
}
