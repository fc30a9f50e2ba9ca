-- twin: the account in the foreign key
-- A booking of one account that points to a contact of another, and goes with it.
-- finds: error|26-foreign-key-without-account|shop.booking
-- finds: error|26-foreign-key-without-account|shop.booking
ALTER TABLE shop.booking ADD COLUMN former int REFERENCES shop.booking ON DELETE SET NULL;
ALTER TABLE shop.booking ADD COLUMN other int
    REFERENCES shop.contact ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE;
-- A commits: INSERT INTO shop.booking (id, other) VALUES (9, 4) RETURNING other
-- B commits: DELETE FROM shop.contact WHERE id = 4 RETURNING id
-- A: SELECT count(*) FROM shop.booking WHERE id = 9
-- meanwhile: INSERT INTO shop.contact VALUES (4, 'ACCOUNT_B', 'bea') ON CONFLICT DO NOTHING
-- shows: 4
-- shows: 4
-- shows: 0
-- then: 23503 insert or update on table "booking" violates foreign key constraint "booking_other_fkey"
-- then: 4
-- then: 0
