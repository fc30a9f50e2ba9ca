-- finds: info|74-index-unusable|shop."By (lower) name"
-- finds: info|74-index-unusable|shop.by_account
CREATE INDEX "By (lower) name" ON shop.contact (lower(name));
CREATE INDEX by_account ON shop.contact (account_id, upper(name));
