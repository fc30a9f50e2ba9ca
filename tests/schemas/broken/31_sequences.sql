-- finds: warning|31-sequence-granted|shop.ticket_number_seq
-- finds: info|31-sequence-granted|shop.ticket_id_seq
CREATE TABLE shop.ticket (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number serial,
    account_id uuid NOT NULL);
ALTER TABLE shop.ticket OWNER TO ITSOWNER; SELECT tenant_guard.protect('shop.ticket');
GRANT SELECT, USAGE ON SEQUENCE shop.ticket_id_seq TO APP; GRANT ALL ON SEQUENCE shop.ticket_number_seq TO PUBLIC;
