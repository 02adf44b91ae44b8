//! What the crate's root holds: every type of it is `Send` and `Sync`, and nothing stands there that is none of the API.

use unistream::*;

/// Compiles only if all of them are `Send` and `Sync`; their names, without what follows them.
macro_rules! shared_by_threads {
    ($($name:ident $(<$lifetime:lifetime>)?),+ $(,)?) => {{
        const fn is_shared<T: Send + Sync>() {}
        $(const _: () = is_shared::<$name $(<$lifetime>)?>();)+
        [$(stringify!($name)),+]
    }};
}

#[test]
fn every_type_at_the_root_is_send_and_sync() {
    let shared = shared_by_threads!(
        Admin,
        Headers<'static>,
        HeadersIter<'static>,
        Batch,
        Buffer,
        DeadLetter,
        DeadLetters,
        DeadRecord,
        Delivery,
        DeliveryReport,
        Confirmation,
        Reporting,
        Cause,
        Damage,
        Error,
        ErrorKind,
        Event<'static>,
        Level,
        Observer,
        Inspection,
        InspectionStats,
        Verification,
        Limits,
        CoreDumps,
        Durability,
        Mode,
        OnExhausted,
        OnExpired,
        OptionSpec,
        Options,
        Order,
        Secret,
        Storage,
        Trust,
        WhenFull,
        DrainTurn,
        Builder,
        Producer,
        PutManyError,
        NewRecord<'static>,
        Record<'static>,
        Jitter,
        Metric,
        Schedule,
        FileSink,
        Framing,
        NullSink,
        Outcome,
        Report,
        SendError,
        State,
        Stats,
    );
    let not_types = ["NEVER", "Result", "Sink"];
    let exported = exported(include_str!("../src/lib.rs"));
    assert!(exported.len() > 40, "{exported:?}");
    let unknown = |name: &&&str| !shared.contains(name) && !not_types.contains(name);
    let unknown: Vec<&&str> = exported.iter().filter(unknown).collect();
    assert!(
        unknown.is_empty(),
        "say here whether these are shared by threads, or let them stand in a module: {unknown:?}"
    );
    let gone = shared.iter().chain(&not_types).filter(|name| !exported.contains(name));
    assert_eq!(gone.collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// The names behind `pub use`.
fn exported(source: &str) -> Vec<&str> {
    let uses = source.split("\npub use ").skip(1).map(|rest| rest.split_once(';').expect("a use ends").0);
    let names = uses.flat_map(|path| {
        let (_, last) = path.split_once("::").expect("a path has parts");
        last.trim_matches(['{', '}']).split(',').map(|name| name.trim().trim_matches(['{', '}', '\n', ' ']))
    });
    names.filter(|name| !name.is_empty()).collect()
}
