-- Reads are recorded, and every session has the library from its beginning.
CREATE TABLE shop.contact (id int PRIMARY KEY, account_id uuid, name text);
ALTER TABLE shop.contact OWNER TO ITSOWNER;
SELECT tenant_guard.protect('shop.contact');
SELECT tenant_guard.audit_reads('shop.contact');
ALTER DATABASE DB SET session_preload_libraries = 'plpgsql', 'tenant_guard';
