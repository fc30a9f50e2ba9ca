-- twin: protection of the partition
-- finds: error|13-child-not-protected|shop.message_2
-- finds: error|13-child-not-protected|shop.message_2_a
-- finds: error|13-child-not-protected|shop.message_2_a_1
-- row: 13
CREATE TABLE shop.message_2 PARTITION OF shop.message FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')
    PARTITION BY RANGE (at);
CREATE TABLE shop.message_2_a PARTITION OF shop.message_2 FOR VALUES FROM ('2024-02-01') TO ('2024-02-15')
    PARTITION BY RANGE (at);
CREATE TABLE shop.message_2_a_1 PARTITION OF shop.message_2_a FOR VALUES FROM ('2024-02-01') TO ('2024-02-08');
ALTER TABLE shop.message_2 OWNER TO ITSOWNER; ALTER TABLE shop.message_2_a OWNER TO ITSOWNER;
ALTER TABLE shop.message_2_a_1 OWNER TO ITSOWNER; GRANT SELECT ON shop.message_2_a_1 TO APP;
INSERT INTO shop.message VALUES ('ACCOUNT_B', '2024-02-02');
-- A: SELECT account_id FROM shop.message_2_a_1
-- shows: ACCOUNT_B
