-- finds: warning|53-account-default|shop.booking
-- finds: warning|53-account-default|shop.contact
ALTER TABLE shop.contact ALTER account_id SET DEFAULT current_setting('app.account', true)::uuid;
ALTER TABLE shop.booking ALTER account_id DROP DEFAULT;
