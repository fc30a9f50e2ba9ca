-- twin: REPLICATION, and what is published
-- cluster: dangerous
-- finds: error|34-replication|APP
-- finds: error|34-replication|DB_reader
-- finds: error|34-replication|everything
-- finds: error|34-replication|of_ours
-- finds: info|34-replication|DB_standby
-- since 15 | -- finds: warning|34-replication|by_schema
-- finds: warning|34-replication|by_table
ALTER ROLE APP REPLICATION; CREATE ROLE DB_standby LOGIN REPLICATION;
CREATE ROLE DB_decoder NOLOGIN REPLICATION; CREATE ROLE DB_reader LOGIN; GRANT DB_decoder TO DB_reader;
GRANT SELECT ON shop.contact TO DB_reader;
CREATE PUBLICATION by_table FOR TABLE shop.contact, shop.message, shop.currency;
-- since 15 | CREATE PUBLICATION by_schema FOR TABLES IN SCHEMA shop;
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE PUBLICATION of_ours FOR TABLE tenant_guard.issuer, shop.currency;
-- since 15 | CREATE PUBLICATION filtered FOR TABLE shop.contact WHERE (account_id = '00000000-0000-4000-8000-00000000000a');
CREATE PUBLICATION harmless FOR TABLE shop.currency;
-- outside: SELECT slot_name FROM pg_create_logical_replication_slot('DB', 'test_decoding')
-- meanwhile: INSERT INTO shop.booking VALUES (8, 'ACCOUNT_B'); DELETE FROM shop.booking WHERE id = 8
-- outside: SELECT substring(data FROM 'account_id.uuid.:''([^'']+)''') FROM pg_logical_slot_get_changes('DB', NULL, NULL)
--     WHERE data LIKE 'table shop.booking: INSERT%'
-- outside: DO $$BEGIN PERFORM pg_drop_replication_slot('DB'); END$$
-- shows: DB
-- shows: ACCOUNT_B
-- before 16 | -- then: 42501 must be superuser or replication role to use replication slots
-- before 16 | -- then: 42501 must be superuser or replication role to use replication slots
-- before 16 | -- then: 42501 must be superuser or replication role to use replication slots
-- since 16 | -- then: 42501 permission denied to use replication slots
-- since 16 | -- then: 42501 permission denied to use replication slots
-- since 16 | -- then: 42501 permission denied to use replication slots
