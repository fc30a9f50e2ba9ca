-- twin: the setting
-- finds: warning|75-reads-unseen|DB
SELECT tenant_guard.audit_reads('shop.contact');
ALTER DATABASE DB SET session_preload_libraries = 'plpgsql';
-- cannot be shown: what is missing is missing in the log, which the application does not read
