-- twin: protect() of the child
-- A table without an account column that is read and never written.
-- finds: error|12-row-security-not-enabled|shop."Tag's"
CREATE TABLE shop."Tag's" (contact_id int NOT NULL REFERENCES shop.contact, label text);
ALTER TABLE shop."Tag's" OWNER TO ITSOWNER; GRANT SELECT ON shop."Tag's" TO APP;
INSERT INTO shop."Tag's" VALUES (1, 'of ann'), (3, 'of bob');
-- A: SELECT label FROM shop."Tag's"
-- shows: of ann
-- shows: of bob
-- then: of ann
