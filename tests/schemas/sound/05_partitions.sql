-- Two levels of partitions and a child of classic inheritance.
SET ROLE ITSOWNER;
CREATE TABLE shop.event (account_id uuid NOT NULL, at timestamptz NOT NULL, kind text,
    PRIMARY KEY (account_id, at, kind)) PARTITION BY RANGE (at);
CREATE TABLE shop.event_2024 PARTITION OF shop.event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')
    PARTITION BY LIST (kind);
CREATE TABLE shop.event_2024_view PARTITION OF shop.event_2024 FOR VALUES IN ('view');
CREATE TABLE shop.event_rest PARTITION OF shop.event DEFAULT;
CREATE TABLE shop.base (id uuid PRIMARY KEY, account_id uuid NOT NULL);
CREATE TABLE shop.derived (extra text) INHERITS (shop.base);
SELECT tenant_guard.protect('shop.event'), tenant_guard.protect('shop.base');
