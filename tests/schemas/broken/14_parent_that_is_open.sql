-- twin: the parent
-- A statement on the parent asks its policies alone.
-- finds: error|13-child-not-protected|shop.everything
CREATE TABLE shop.everything (id int NOT NULL, name text);
ALTER TABLE shop.everything OWNER TO ITSOWNER; GRANT SELECT ON shop.everything TO APP;
ALTER TABLE shop.contact INHERIT shop.everything;
-- A: SELECT string_agg(name, ' ' ORDER BY name) FROM shop.everything
-- shows: abe ann bea bob
-- then: <null>
