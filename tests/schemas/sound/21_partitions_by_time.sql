-- A tree by month and by hash with its own indexes, one part detached, one attached later.
SET ROLE ITSOWNER;
CREATE TABLE shop.reading (account_id bigint NOT NULL, sensor text NOT NULL, at timestamptz NOT NULL, value float8,
    PRIMARY KEY (account_id, sensor, at)) PARTITION BY RANGE (at);
CREATE TABLE shop.reading_2024_01 PARTITION OF shop.reading FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')
    PARTITION BY HASH (account_id);
CREATE TABLE shop.reading_2024_01_0 PARTITION OF shop.reading_2024_01 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE shop.reading_2024_01_1 PARTITION OF shop.reading_2024_01 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE shop.reading_2024_02 PARTITION OF shop.reading FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
CREATE INDEX ON shop.reading USING brin (at); CREATE INDEX ON shop.reading (account_id, at DESC);
SELECT tenant_guard.protect('shop.reading');
ALTER TABLE shop.reading DETACH PARTITION shop.reading_2024_02;
CREATE TABLE shop.reading_2024_03 (LIKE shop.reading INCLUDING ALL);
ALTER TABLE shop.reading ATTACH PARTITION shop.reading_2024_03 FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');
CREATE TABLE shop.reading_2024_04 PARTITION OF shop.reading FOR VALUES FROM ('2024-04-01') TO ('2024-05-01');
