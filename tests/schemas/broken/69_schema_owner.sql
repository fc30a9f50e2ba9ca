-- twin: the owner of the schema
-- finds: warning|69-schema-owner-can-log-in|shop
ALTER SCHEMA shop OWNER TO APP;
-- A: DROP TABLE shop.contact CASCADE
-- A: SELECT to_regclass('shop.contact')
-- shows: notice: drop cascades to 2 other objects
-- shows: <null>
-- then: 42501 must be owner of table contact
-- then: shop.contact
