-- twin: an account column of a type that accounts are of
-- without fix: 12-row-security-not-enabled
-- finds: error|12-row-security-not-enabled|shop.padded
-- by hand: ALTER TABLE shop.padded ALTER account_id TYPE uuid USING account_id::uuid; SELECT tenant_guard.protect('shop.padded')
CREATE TABLE shop.padded (id int PRIMARY KEY, account_id char(36), note text);
ALTER TABLE shop.padded OWNER TO ITSOWNER; GRANT SELECT ON shop.padded TO APP;
INSERT INTO shop.padded VALUES (1, 'ACCOUNT_B', 'of bob');
-- A: SELECT note FROM shop.padded
-- shows: of bob
