-- Numbers from sequences, usage of them granted, and no more.
SET ROLE ITSOWNER;
CREATE TABLE shop.ticket (id serial PRIMARY KEY, account_id bigint NOT NULL, title text, UNIQUE (account_id, id));
CREATE TABLE shop.reply (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id bigint NOT NULL,
    ticket_id int, position int, UNIQUE (ticket_id, position),
    FOREIGN KEY (account_id, ticket_id) REFERENCES shop.ticket (account_id, id));
GRANT USAGE ON ALL SEQUENCES IN SCHEMA shop TO APP;
SELECT tenant_guard.protect_schema('shop');
