#!/usr/bin/env python3
"""Builds the demo's GeoIP and ASN databases from networks.csv.

Every value in networks.csv is invented: the networks are the documentation ranges of RFC 5737 and
RFC 3849, the AS numbers those of RFC 5398. The output is the same bytes on every run.
"""

import csv
import sys
import time
from pathlib import Path

import mmdb_writer
from netaddr import IPNetwork, IPSet

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "src" / "demo" / "geo"
# The writer stamps the time of the build; a fixed one (2026-11-01) keeps the files reproducible.
BUILD_EPOCH = 1793491200


def record_of_city(row):
    return {
        "city": {"names": {"en": row["city"]}},
        "country": {"iso_code": row["country"]},
        "location": {
            "latitude": mmdb_writer.MmdbF64(float(row["lat"])),
            "longitude": mmdb_writer.MmdbF64(float(row["long"])),
        },
    }


def record_of_asn(row):
    return {
        "autonomous_system_number": mmdb_writer.MmdbU32(int(row["asn"])),
        "autonomous_system_organization": row["organisation"],
    }


def build(rows, record_of, database_type, description, path):
    writer = mmdb_writer.MMDBWriter(
        ip_version=6,
        ipv4_compatible=True,
        database_type=database_type,
        languages=["en"],
        description=description,
    )
    for row in rows:
        writer.insert_network(IPSet([IPNetwork(row["network"])]), record_of(row))
    writer.to_db_file(str(path))
    print(f"{path.name}: {len(rows)} networks, {path.stat().st_size} bytes")


def main():
    time.time = lambda: BUILD_EPOCH
    with open(HERE / "networks.csv", newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    OUT.mkdir(parents=True, exist_ok=True)
    build(rows, record_of_city, "Weir-Demo-City", "Invented locations of documentation networks", OUT / "demo-city.mmdb")
    build(rows, record_of_asn, "Weir-Demo-ASN", "Invented owners of documentation networks", OUT / "demo-asn.mmdb")


if __name__ == "__main__":
    sys.exit(main())
