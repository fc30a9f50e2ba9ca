-- twin: who may write the assignments
-- finds: error|45-assignment-writable|shop.assigned
CREATE TABLE shop.assigned (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), account_id uuid NOT NULL, contact_id int, who text,
    FOREIGN KEY (account_id, contact_id) REFERENCES shop.contact (account_id, id));
ALTER TABLE shop.assigned OWNER TO ITSOWNER; SELECT tenant_guard.protect('shop.assigned');
GRANT SELECT, INSERT ON shop.assigned TO APP;
SELECT tenant_guard.define_role('agent'), tenant_guard.define_role('lead'),
    tenant_guard.allow('lead', 'shop.assigned', '{all}'),
    tenant_guard.allow('agent', 'shop.contact', '{select}', 'assigned', assignment => 'shop.assigned',
        assignment_key => 'contact_id', assignment_subject => 'who');
SELECT tenant_guard.disallow('lead', 'shop.assigned');
-- roles: agent
-- A: INSERT INTO shop.assigned (contact_id, who) VALUES (1, 'tester')
-- A: SELECT name FROM shop.contact
-- shows: ann
-- then: 42501 new row violates row-level security policy for table "assigned"
