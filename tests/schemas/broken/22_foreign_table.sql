-- twin: the grant
-- finds: error|22-foreign-table|shop.elsewhere
-- left: info|22-foreign-table|shop.elsewhere
CREATE EXTENSION file_fdw; CREATE SERVER files foreign data wrapper file_fdw;
CREATE FOREIGN TABLE shop.elsewhere (account_id uuid, note text) SERVER files
    OPTIONS (program 'echo ACCOUNT_B,of bob', format 'csv');
GRANT SELECT ON shop.elsewhere TO APP;
-- A: SELECT note FROM shop.elsewhere
-- shows: of bob
-- then: 42501 permission denied for foreign table elsewhere
