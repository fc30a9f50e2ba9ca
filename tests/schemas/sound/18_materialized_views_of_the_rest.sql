-- Materialized views over what belongs to no account, and ordinary views of catalogs.
SET ROLE ITSOWNER;
CREATE TABLE shop.contact (id uuid PRIMARY KEY, account_id uuid NOT NULL);
CREATE TABLE shop.price (code text PRIMARY KEY, amount numeric);
SELECT tenant_guard.protect('shop.contact'), tenant_guard.protect('shop.price', archetype => 'reference');
CREATE TABLE shop.holiday (day date PRIMARY KEY, name text);
CREATE MATERIALIZED VIEW shop.prices_of_today AS SELECT code, amount FROM shop.price;
CREATE MATERIALIZED VIEW shop.next_holiday AS SELECT min(day) FROM shop.holiday;
GRANT SELECT ON shop.prices_of_today, shop.next_holiday TO APP, PUBLIC;
CREATE VIEW shop.price_list AS SELECT code FROM shop.price; GRANT SELECT ON shop.price_list TO PUBLIC;
RESET ROLE;
CREATE VIEW public.sizes AS SELECT relname, relpages FROM pg_class WHERE relname = 'contact';
GRANT SELECT ON public.sizes TO APP;
