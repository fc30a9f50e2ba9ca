-- finds: error|22-foreign-table|shop.elsewhere
-- left: info|22-foreign-table|shop.elsewhere
CREATE foreign data wrapper other; CREATE SERVER far foreign data wrapper other;
CREATE FOREIGN TABLE shop.elsewhere (id int, account_id uuid) SERVER far;
GRANT SELECT ON shop.elsewhere TO APP;
