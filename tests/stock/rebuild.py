"""Rebuilds tables from topics, and knows nothing but what consumers of Debezium know.

    rebuild.py BROKERS LAST TOPIC...

Reads all topics from their beginning; each has one partition, so that changes of a table come in order. Once the topic LAST
holds a row, it reads what is there at that moment, and on for as long as a value is missing; then it prints the tables as INSERT
statements and ends.
"""

import json
import sys
import time

from kafka import KafkaConsumer, TopicPartition

# What stands in place of a large value that the database did not send, since it has not changed.
UNAVAILABLE = "__debezium_unavailable_value"


class Table:
    """The rows of a table by their keys."""

    def __init__(self):
        self.name = None
        self.rows = {}
        # Rows on their way from one key to another: what the new one needs of the old one.
        self.moving = {}

    def take(self, key, value, headers):
        """Takes one record."""
        if value is None:
            # A tombstone: the deletion before it has said all.
            return
        source, op = value["source"], value["op"]
        self.name = (source["schema"], source["table"])
        if op in ("c", "u", "r"):
            self.put(key, value["after"])
        elif op == "d":
            row = self.rows.pop(key, None)
            if row and "__debezium.newkey" in headers:
                self.moving[key_of(headers["__debezium.newkey"])] = row
        elif op == "t":
            self.rows.clear()
        else:
            raise ValueError(f"unknown operation {op}")

    def put(self, key, row):
        """Puts a row under its key. A value that was not sent is the one that the row had before, under this key or its last."""
        known = self.moving.pop(key, None) or self.rows.get(key, {})
        self.rows[key] = {
            column: known.get(column, value) if value == UNAVAILABLE else value for column, value in row.items()
        }

    def is_whole(self):
        """Whether every value is known. One may not be while the first copy of a table has not come to its row."""
        return not any(UNAVAILABLE in row.values() for row in self.rows.values())

    def statements(self):
        """Its rows as SQL."""
        for row in self.rows.values():
            columns = ", ".join(quoted(column, '"') for column in row)
            values = ", ".join(literal(value) for value in row.values())
            name = ".".join(quoted(part, '"') for part in self.name)
            yield f"INSERT INTO {name} ({columns}) VALUES ({values});"


def quoted(text, quote):
    return quote + text.replace(quote, quote * 2) + quote


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value, "'")


def parsed(text):
    """JSON, with numbers as they are written: a float of Python would be another number."""
    return None if text is None else json.loads(text, parse_int=str, parse_float=str, parse_constant=str)


def key_of(text):
    """A key in a form that can be looked up."""
    return None if text is None else tuple(sorted(parsed(text).items()))


def partitions_of(consumer, topics):
    """All partitions of the topics, once they are all there."""
    while True:
        found = {topic: consumer.partitions_for_topic(topic) for topic in topics}
        if all(found.values()):
            return [TopicPartition(topic, number) for topic in topics for number in found[topic]]
        time.sleep(0.2)


def main():
    brokers, last, *topics = sys.argv[1:]
    consumer = KafkaConsumer(
        bootstrap_servers=brokers.split(","),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    partitions = partitions_of(consumer, topics)
    consumer.assign(partitions)
    tables = {topic: Table() for topic in topics}
    ends = None
    while True:
        for records in consumer.poll(timeout_ms=200).values():
            for record in records:
                headers = dict(record.headers)
                tables[record.topic].take(key_of(record.key), parsed(record.value), headers)
        if ends is None and tables[last].rows:
            ends = consumer.end_offsets(partitions)
        if ends and all(consumer.position(each) >= ends[each] for each in partitions):
            if all(table.is_whole() for table in tables.values()):
                break
    for table in tables.values():
        for statement in table.statements():
            print(statement)


main()
