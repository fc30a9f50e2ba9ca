-- twin: the default
-- finds: warning|53-account-default|shop.booking
-- finds: warning|53-account-default|shop.contact
ALTER TABLE shop.contact ALTER account_id SET DEFAULT current_setting('app.account', true)::uuid;
ALTER TABLE shop.booking ALTER account_id DROP DEFAULT;
-- The floor refuses what the default lets in: the row of another account, and the row of none.
-- A: SET LOCAL app.account = 'ACCOUNT_B'
-- A: INSERT INTO shop.contact (id) VALUES (9) RETURNING account_id
-- A: INSERT INTO shop.booking (id) VALUES (9) RETURNING account_id
-- shows: 42501 new row violates row-level security policy for table "contact"
-- shows: 42501 new row violates row-level security policy for table "booking"
-- then: ACCOUNT_A
-- then: ACCOUNT_A
