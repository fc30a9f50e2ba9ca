-- twin: SELECT and UPDATE on the sequence
-- finds: warning|31-sequence-granted|shop.ticket_number_seq
-- finds: info|31-sequence-granted|shop.ticket_id_seq
CREATE TABLE shop.ticket (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number serial,
    account_id uuid NOT NULL);
ALTER TABLE shop.ticket OWNER TO ITSOWNER; SELECT tenant_guard.protect('shop.ticket');
GRANT SELECT, USAGE ON SEQUENCE shop.ticket_id_seq TO APP; GRANT ALL ON SEQUENCE shop.ticket_number_seq TO PUBLIC;
INSERT INTO shop.ticket (account_id) VALUES ('ACCOUNT_B'), ('ACCOUNT_B'), ('ACCOUNT_B');
-- A: SELECT last_value FROM shop.ticket_id_seq
-- A: SELECT setval('shop.ticket_number_seq', 1)
-- shows: 3
-- shows: 1
-- then: 42501 permission denied for sequence ticket_id_seq
-- then: 42501 permission denied for sequence ticket_number_seq
