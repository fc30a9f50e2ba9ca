-- twin: protect()
-- finds: error|12-row-security-not-enabled|shop.contact_old
CREATE TABLE shop.contact_old (LIKE shop.contact INCLUDING ALL);
INSERT INTO shop.contact_old SELECT * FROM shop.contact;
ALTER TABLE shop.contact_old OWNER TO ITSOWNER; GRANT SELECT ON shop.contact_old TO APP;
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.contact_old
-- shows: abe ann bea bob
-- then: abe ann
