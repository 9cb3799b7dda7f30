//! The asset table as a compacted topic, against a real broker. Run with `WEIR_TEST_KAFKA=1`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use weir_connectors::enrich::{EnrichConfig, Enricher};
use weir_connectors::kafka::{InventoryConfig, InventoryReader};

use crate::broker::{Broker, broker};

fn put(broker: &Broker, topic: &str, messages: &[(i32, &str, Option<&str>)]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &broker.address)
        .create()
        .unwrap();
    for (partition, key, value) in messages {
        let mut record = BaseRecord::to(topic).partition(*partition).key(*key);
        if let Some(value) = value {
            record = record.payload(*value);
        }
        producer.send(record).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waiting for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inventory_follows_its_topic() {
    let Some(broker) = broker("an_inventory_follows_its_topic") else {
        return;
    };
    let topic = broker.topic("inventory", 2);
    let shop = Some(r#"{"owner":"shop","tags":["pci"]}"#);
    put(
        broker,
        &topic,
        &[
            (0, "web-1", shop),
            (1, "web-2", shop),
            (1, "web-3", shop),
            (1, "web-3", None),
            (0, "web-4", Some("no json")),
            (0, "", shop),
        ],
    );
    let config = InventoryConfig {
        brokers: broker.address.clone(),
        topic: topic.clone(),
        properties: BTreeMap::new(),
    };
    let (enricher, _) = Enricher::open(&EnrichConfig::default());
    let inventory = enricher.inventory();
    let reader = InventoryReader::start(&config, inventory.clone()).unwrap();
    assert!(reader.caught_up(Duration::from_secs(60)).await);
    assert_eq!((inventory.len(), inventory.refused()), (2, 2));
    // It goes on: upserts, and a deletion.
    put(
        broker,
        &topic,
        &[(1, "web-5", shop), (0, "web-1", None), (1, "web-6", shop)],
    );
    until("upserts", || inventory.len() == 3).await;
    drop(reader);
    // Every start reads it from the beginning.
    let anew = Arc::new(weir_connectors::enrich::Inventory::default());
    let reader = InventoryReader::start(&config, anew.clone()).unwrap();
    assert!(reader.caught_up(Duration::from_secs(60)).await);
    assert_eq!(anew.len(), 3);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_waited_for() {
    let Some(broker) = broker("a_topic_that_is_not_there_is_waited_for") else {
        return;
    };
    let config = InventoryConfig {
        brokers: broker.address.clone(),
        topic: "inventory-not-yet".into(),
        properties: BTreeMap::new(),
    };
    let (enricher, _) = Enricher::open(&EnrichConfig::default());
    let reader = InventoryReader::start(&config, enricher.inventory()).unwrap();
    assert!(!reader.caught_up(Duration::from_secs(3)).await);
    broker.create_topic("inventory-not-yet", 1);
    put(broker, "inventory-not-yet", &[(0, "web-1", Some("{}"))]);
    until("the entry", || enricher.inventory().len() == 1).await;
}

#[test]
fn settings_are_checked_without_a_broker() {
    let config = |topic: &str| InventoryConfig {
        brokers: "127.0.0.1:9092".into(),
        topic: topic.into(),
        properties: BTreeMap::new(),
    };
    config("inventory").check().unwrap();
    let error = config("no topic").check().unwrap_err().to_string();
    assert!(error.contains("`no topic` is not a topic name"), "{error}");
}
