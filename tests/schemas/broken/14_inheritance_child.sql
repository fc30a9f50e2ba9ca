-- twin: protection of the child
-- finds: error|13-child-not-protected|shop.special
CREATE TABLE shop.special (note text) INHERITS (shop.booking);
ALTER TABLE shop.special OWNER TO ITSOWNER; GRANT SELECT ON shop.special TO APP;
INSERT INTO shop.special VALUES (7, 'ACCOUNT_B', NULL, 'of bob');
-- A: SELECT note FROM shop.special
-- shows: of bob
