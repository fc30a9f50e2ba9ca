-- twin: security_invoker
-- Nobody but the owner may read it.
-- finds: error|19-view-runs-as-owner|shop.in_tray
CREATE VIEW shop.in_tray AS SELECT id, account_id, name FROM shop.contact;
REVOKE ALL ON shop.in_tray FROM PUBLIC, APP; GRANT UPDATE (name) ON shop.in_tray TO APP;
-- A commits: UPDATE shop.in_tray SET name = 'defaced'
-- B: SELECT DISTINCT name FROM shop.contact
-- meanwhile: UPDATE shop.contact SET name = 'restored'
-- shows: defaced
-- before 15 | -- then: 42501 permission denied for view in_tray
-- then: restored
