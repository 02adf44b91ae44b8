//! Slots of a Redis Cluster: which a key has, and which node has them.
//! <https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/>

use super::place::Server;
use super::resp::Reply;
use crate::sink::net::crc16::crc16;

pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key: of what stands between the first braces in it, if anything does, else of all of it.
pub(super) fn slot(key: &str) -> u16 {
    crc16(tag(key).unwrap_or(key).as_bytes()) % SLOTS
}

fn tag(key: &str) -> Option<&str> {
    let (_, after) = key.split_once('{')?;
    after.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
}

/// The key beside a stream that has its slot, for what `name` says.
pub(super) fn beside(stream: &str, name: &str) -> String {
    match tag(stream) {
        Some(_) => format!("{stream}:{name}"),
        None => format!("{{{stream}}}:{name}"),
    }
}

/// Which node has which slots: first and last, and the node.
#[derive(Debug, Default)]
pub(super) struct Map(Vec<(u16, u16, Server)>);

impl Map {
    /// What `CLUSTER SLOTS` of a node says.
    pub(super) fn of(reply: &Reply, teller: &Server) -> Option<Map> {
        let Reply::Array(ranges) = reply else { return None };
        let range = |range: &Reply| {
            let Reply::Array(parts) = range else { return None };
            let [Reply::Number(first), Reply::Number(last), Reply::Array(master), ..] = &parts[..] else { return None };
            let (host, port) = match &master[..] {
                [Reply::Text(host), Reply::Number(port), ..] => (&host[..], port),
                [Reply::Nothing, Reply::Number(port), ..] => ("", port),
                _ => return None,
            };
            let number = |number: &i64| u16::try_from(*number).ok();
            Some((number(first)?, number(last)?, teller.told(host, number(port)?)))
        };
        ranges.iter().map(range).collect::<Option<Vec<_>>>().filter(|ranges| !ranges.is_empty()).map(Map)
    }

    pub(super) fn node(&self, slot: u16) -> Option<&Server> {
        self.0.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(.., node)| node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 12739);
        assert_eq!(slot("foo"), 12182);
        assert_eq!(slot("{user1000}.following"), slot("user1000"));
        assert_eq!(slot("foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
        for stream in ["orders", "{t}orders", "a{t}b", "{}", "größe"] {
            let same = slot(&beside(stream, "unistream:1")) == slot(stream);
            assert_eq!(same, stream != "{}", "{stream}");
        }
    }

    #[test]
    fn the_map_of_a_cluster() {
        let teller = Server { host: "seed".into(), port: 1, tls_name: "seed".into() };
        let range = |first, last, host: Reply, port| {
            let node = Reply::Array(vec![host, Reply::Number(port), Reply::Text("id".into())]);
            Reply::Array(vec![Reply::Number(first), Reply::Number(last), node])
        };
        let reply = Reply::Array(vec![
            range(0, 100, Reply::Text("10.0.0.1".into()), 7000),
            range(101, 16383, Reply::Nothing, 7001),
        ]);
        let map = Map::of(&reply, &teller).unwrap();
        assert_eq!((&map.node(100).unwrap().host[..], map.node(100).unwrap().port), ("10.0.0.1", 7000));
        assert_eq!((&map.node(101).unwrap().host[..], map.node(101).unwrap().port), ("seed", 7001));
        for bad in [Reply::Nothing, Reply::Array(vec![]), Reply::Array(vec![Reply::Number(1)])] {
            assert!(Map::of(&bad, &teller).is_none());
        }
    }
}
