-- twin: protect()
-- A table of an odd name, made while the guards were off.
-- finds: error|12-row-security-not-enabled|shop."It's (odd)"
CREATE TABLE shop."It's (odd)" (id int PRIMARY KEY, account_id uuid NOT NULL, note text);
ALTER TABLE shop."It's (odd)" OWNER TO ITSOWNER; GRANT SELECT ON shop."It's (odd)" TO APP;
INSERT INTO shop."It's (odd)" VALUES (1, 'ACCOUNT_B', 'of bob');
-- A: SELECT note FROM shop."It's (odd)"
-- shows: of bob
