-- A table of accounts with names that are everybody's, and people who belong to several.
SET ROLE ITSOWNER;
CREATE TABLE shop.account (id uuid PRIMARY KEY, slug text UNIQUE);
CREATE TABLE shop.membership (account_id uuid NOT NULL REFERENCES shop.account, person uuid NOT NULL,
    role text, PRIMARY KEY (account_id, person));
SELECT tenant_guard.protect('shop.account', 'id'), tenant_guard.protect('shop.membership');
-- Who belongs where is written by functions of the owner.
REVOKE INSERT, UPDATE, DELETE ON shop.membership FROM APP;
SELECT tenant_guard.set_membership('shop.membership', 'person', 'account_id', 'role');
