-- Change data capture of what belongs to no account, or to one.
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL);
CREATE TABLE shop.price (code text PRIMARY KEY);
SELECT tenant_guard.protect('shop.contact'), tenant_guard.protect('shop.price', archetype => 'reference');
RESET ROLE;
CREATE PUBLICATION prices FOR TABLE shop.price;
