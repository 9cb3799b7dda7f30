"""The two questions of `windows.rs`, answered by DuckDB in batch over the same file (`pip install duckdb`).

python3 benches/windows_duckdb.py events.ndjson
"""

import sys
import time

import duckdb

QUESTIONS = {
    "failures": "SELECT arn, w, count(*) AS n FROM {windows} WHERE failed GROUP BY arn, w HAVING count(*) >= 20",
    "regions": "SELECT arn, w, count(DISTINCT region) AS n FROM {windows} WHERE arn IS NOT NULL "
    "GROUP BY arn, w HAVING count(DISTINCT region) >= 5",
}

# Each event once for each of the ten windows (10 minutes, sliding by one) that hold it.
WINDOWS = """(
  SELECT arn, failed, region, minute - k AS w FROM (
    SELECT coalesce(userIdentity.sessionContext.sessionIssuer.arn, userIdentity.arn) AS arn, errorCode IS NOT NULL AS failed, awsRegion AS region,
           epoch(eventTime::TIMESTAMP)::BIGINT // 60 AS minute
    FROM read_json('{file}', format = 'newline_delimited', columns = {{
      userIdentity: 'STRUCT(arn VARCHAR, sessionContext STRUCT(sessionIssuer STRUCT(arn VARCHAR)))', errorCode: 'VARCHAR', awsRegion: 'VARCHAR', eventTime: 'VARCHAR'}})
  ), range(10) AS r(k)
)"""

file = sys.argv[1]
events = sum(1 for _ in open(file, "rb"))
for name, question in QUESTIONS.items():
    started = time.monotonic()
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    rows = connection.execute(question.format(windows=WINDOWS.format(file=file))).fetchall()
    took = time.monotonic() - started
    print(f"{name:10} {events / took:9.0f} events/s, {len(rows)} windows matched (DuckDB {duckdb.__version__})")
